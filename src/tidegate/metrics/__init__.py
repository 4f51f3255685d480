"""The metrics page and the series behind it: cells in shared memory, one sum for all processes.

`families/` declares what there is, `registry` hands out series to write to, `runtime` reads
the processes themselves, `page` renders both, `negotiate` chooses the format.
"""
