"""Milliseconds, learnt while serving: of steps, of cells that are read, and of copies.

    step_cost   CostModel: a step's milliseconds from its shape
    cost_curve  CostCurve: milliseconds over a number of rows
    cell_cost   CellCost: the price of one KV cell that is read
    solo_pace   Pace: the usual wait between two tokens with no other work about
    copy_cost   CopyCost: a copy to host memory and back, against computing anew
    tiles       in_whole_tiles: sizes that leave no block of the kernels half empty

Pure; owner: the step thread.
"""
