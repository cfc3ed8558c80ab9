"""The front door: wires retrieval and tuning together and speaks HTTP.

Start reading at `app.create_app`.
"""
