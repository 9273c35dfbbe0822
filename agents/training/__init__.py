"""How a teacher is trained: a process of its own, so that whatever goes wrong in it hurts no agent.

    spec.py         what the process is told, and what it says; light
    child.py        the agent's side: start it, hear it
    estimate.py     memory and time before anything is loaded; pure
    pairs.py        preference pairs become tokens, by the prompts and the chat template of a `Teach`
    run.py          the training itself, from its spec to new weights
    model.py        the teacher's weights and tokenizer, loaded to be trained
    course.py       the steps, watched and told
    trainers.py     trl's trainers, one per method
    checkpoints.py  what is needed to go on after a death
    results.py      new weights, under their digest
    __main__.py     main of the process

From model.py to results.py they import torch and what stands on it, and only in that process.
"""
