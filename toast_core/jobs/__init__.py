"""Jobs: measurements too long for a page, each in a process of its own, that outlive the page, the dashboard and the engine.

book.py       the record of every job: a SQLite file in the state folder
queue.py      submits, starts, pauses, resumes, cancels, and takes care of processes that died
process.py    the process of one job: python -m toast_core.jobs.process
quote.py      what a job would cost, before it starts

What can be asked for is a study's `job.py`, by its kind in `toast_core.studies.registry`; what it is about is a `Setup`.

Nothing is told to stop in words: a process is killed, and whatever kills one costs at most the part in hand, since every
finished part is in the evidence store. Pausing, cancelling, a power cut and kill -9 are the same thing, and tested as one.
"""
