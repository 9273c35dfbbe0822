"""Training of a teacher, in a process of its own so that its failures do not affect the agent.

    preflight.py    memory and time of a training, before a class starts
    estimate.py     the formulas for them
    coordinator.py  the agent's side of a `Train` request
    process.py      start the training process and read its events
    spec.py         input and events of the training process
    __main__.py     main of the training process
    run.py          one training, from its spec to new weights
    pairs.py        tokens of preference pairs
    model.py        the teacher's weights and tokenizer
    loop.py         the steps
    trainers.py     trl's trainers, one per method
    checkpoints.py  state to resume from
    export.py       new weights, named by digest

The last five import torch, in the training process alone (pairs.py does not).
"""
