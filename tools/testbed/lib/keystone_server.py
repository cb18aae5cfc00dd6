"""Serves the Keystone of OS_KEYSTONE_CONFIG_FILES on 127.0.0.1: keystone_server.py PORT [CERTIFICATE KEY]"""

import socketserver
import ssl
import sys
from wsgiref import simple_server


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    port, *certificate = sys.argv[1:]
    del sys.argv[1:]  # Keystone would take them for its own
    from keystone.server.wsgi import initialize_public_application

    server = Server(("127.0.0.1", int(port)), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        # The handshake is for the thread of its connection.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.set_app(initialize_public_application())
    server.serve_forever()


main()
