"""How a teacher is trained: a process of its own, so that whatever goes wrong in it hurts no agent.

    spec.py         what the process is told, and what it says; light
    child.py        the agent's side: start it, hear it
    estimate.py     memory and time before anything is loaded; pure
    pairs.py        preference pairs become tokens, by the prompts and the chat template of a `Teach`
    trainers.py     trl's trainers, one per method
    run.py          the training itself: load, go on where it was, step, save
    checkpoints.py  what is needed to go on after a death
    results.py      new weights, under their digest
    __main__.py     main of the process

Only trainers.py, run.py, checkpoints.py and results.py import torch and what stands on it, and only in that process.
"""
