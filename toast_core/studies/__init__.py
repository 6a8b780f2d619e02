"""What can be measured and stored. A study is a folder: what it says (`result.py`), how it is measured (`measure.py`), how it is stored
(`store.py`) and how it runs as a job (`job.py`).

base.py           the contract of a run, and what the kinds share
registry.py       the kinds of runs by name, ours and others'
subject.py        the model and images that a study is about, as cells identify them
analyses.py       an analysis in the store, announced and finished
device_memory.py  how many images run at once where memory runs out
"""
