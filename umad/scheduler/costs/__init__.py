"""Learns, while serving, how many milliseconds steps, cells that are read, and copies take.

    step_cost   CostModel: a step's milliseconds from its shape
    cost_curve  CostCurve: milliseconds over a number of rows
    cell_cost   CellCost: the price of one KV cell that is read
    solo_pace   Pace: the usual wait between two tokens with no other work about
    copy_cost   CopyCost: copies to host memory and back, compared with computing again
    tiles       in_whole_tiles: slice sizes that fill the kernels' blocks of rows

Pure; owner: the step thread.
"""
