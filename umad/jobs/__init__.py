"""Does long work on models in the background: pulls, quantizations, loads.

    job            what a job is: its order, its states, how far it is
    book           the list of all jobs, which several processes share
    book_file      its SQLite file; book_rows: jobs of its rows
    runner         starts jobs, at most some at once, sees which have died, cancels
    worker         the process of one job
    work           what a job does in it
    ordering       the order of a pull, from what somebody wrote
    readers        jobs that read files which are to be removed
    lock           the lock that a job's process holds for as long as it lives
    surroundings   the variables that say where a pull goes and as whom

A job's process outlives the daemon, and a daemon that starts again finds it by its lock. Who asked
for a job, and who may see it, the daemon decides (`umad.daemon.job_verbs`). Loads are done by the
daemon itself; the book only tells of them. Owner: each module says its own. Nothing here imports
huggingface_hub but `work`, which only a worker and a pull in the foreground import.
"""
