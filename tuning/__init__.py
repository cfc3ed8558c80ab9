"""The language model: examples in, adapters out; prompts in, tokens out.

Knows no documents and no HTTP. Importing this package loads no model.
Read `voice.py` first: it is the whole training from top to bottom.
"""
