"""A channel server on uWebSockets: whoever sends, all get it.

Started as `python uwebsockets.py <port>`; see uwebsockets.toml.
"""

import sys

from socketify import App, CompressOptions

app = App()


def on_upgrade(response, request, context):
    key = request.get_header("sec-websocket-key")
    response.upgrade(key, "", "", context, request.get_url())


def on_open(reader):
    reader.subscribe(reader.get_user_data())


def on_message(reader, message, opcode):
    app.publish(reader.get_user_data(), message, opcode)


app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "upgrade": on_upgrade,
        "open": on_open,
        "message": on_message,
    },
)
app.listen(
    {"host": "127.0.0.1", "port": int(sys.argv[1])},
    lambda config: print("listening", flush=True),
)
app.run()
