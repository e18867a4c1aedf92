"""llama.cpp's own endpoints, so that its editors' plugins work: /infill, /tokenize, /detokenize.

infill   a body to a prompt of the model's fill-in-the-middle tokens, and the sampling
answers  parts of an answer to llama-server's objects
routes   the endpoints, and the dialect's error shape
"""
