"""Decides for Everwire: who a caller is, and what may be published. Run: python3 application.py PORT SECRET_FILE"""
import hashlib, hmac, http.server, json, sys, time

PORT, SECRET = int(sys.argv[1]), open(sys.argv[2], "rb").read().strip()
USERS = {"sid=1": "ada"}  # your sessions


def decide(asked):
    user = USERS.get(asked["headers"].get("cookie"))
    if asked["question"] == "connect" and user:
        return {"allow": True, "sub": user, "channels": [{"match": "chat/*", "can": ["read", "presence"]}], "cache_s": 60}
    if asked["question"] == "publish" and user:
        return {"allow": True, "entries": [{"data": "***" if e["data"] == "rude" else e["data"]} for e in asked["entries"]]}
    return {"allow": False, "reason": "log in first"}


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = dict(part.split("=") for part in self.headers.get("Everwire-Signature", "t=0,hs256=").split(","))
        tag = hmac.new(SECRET, f"{signed['t']}.".encode() + body, hashlib.sha256).hexdigest()
        is_good = hmac.compare_digest(tag, signed["hs256"]) and abs(time.time() - int(signed["t"])) < 300
        answer = json.dumps(decide(json.loads(body))).encode() if is_good else b""
        self.send_response(200 if is_good else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Application).serve_forever()
