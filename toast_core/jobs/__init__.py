"""Jobs: measurements too long for a page, each in a process of its own, that outlive the page, the dashboard and the engine.

kinds.py      what can be asked for: a class a kind, in the registry `KINDS`; composition.py, apply.py and tuning.py hold three
run.py        what every kind must do, and what they share
basis.py      the model, images and store that a job is about, named (`Basis`) and loaded (`Ground`)
book.py       the record of every job: a SQLite file in the state folder
queue.py      submits, starts, pauses, resumes, cancels, and takes care of processes that died
process.py    the process of one job: python -m toast_core.jobs.process
quote.py      what a job would cost, before it starts
evaluation.py evaluations that go on where they stopped

Nothing is told to stop in words: a process is killed, and whatever kills one costs at most the part in hand, since every
finished part is in the evidence store. Pausing, cancelling, a power cut and kill -9 are the same thing, and tested as one.
"""
