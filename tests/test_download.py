"Downloads: a server that does everything wrong, and files that are whole or not there."
import errno, gzip, hashlib, http.server, json, os, random, signal, subprocess, sys, tempfile, threading, time, tomllib
from pathlib import Path
import pandas as pd, pytest, requests
from chromexpress import download as d, roadmap as r
from chromexpress.core import InputError, Problems
from chromexpress.study import parse_study
from toy import ENV, PIPES, cli, files, write_bigwig

BODY = random.Random(1).randbytes(400_000)                   # longer than a block, so that it can be cut
QUICK = d.Patience(tries=4, pause=.001, longest=.002, obeyed=1., connect=2., silence=.3, report=60.)
md5 = lambda b: hashlib.md5(b).hexdigest()
sha256 = lambda b: hashlib.sha256(b).hexdigest()

class Handler(http.server.BaseHTTPRequestHandler):
    "Serves `server.files`, path → bytes. `server.plan[path]` is a list of what to do wrong, one for each request."
    def do_GET(self):
        s, body = self.server, self.server.files.get(self.path)
        plan = s.plan.get(self.path)
        todo = dict(plan.pop(0)) if plan else {}
        s.seen.append((self.path, dict(self.headers)))
        if "status" in todo or body is None:
            self.send_response(todo.get("status", 404))
            for k, v in todo.get("headers", {}).items(): self.send_header(k, v)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body, etag = todo.get("body", body), todo.get("etag", s.etag)
        at, wish = 0, self.headers.get("Range")
        if wish and s.ranges and self.headers.get("If-Range", etag) == etag: at = int(wish[6:-1])
        if at >= len(body) > 0:
            self.send_response(416); self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if at else 200)
        if etag: self.send_header("ETag", etag)
        if at: self.send_header("Content-Range", f"bytes {todo.get('from', at)}-{len(body) - 1}/{len(body)}")
        rest = body[at:]
        if not todo.get("silent_length"): self.send_header("Content-Length", str(todo.get("length", len(rest))))
        for k, v in todo.get("headers", {}).items(): self.send_header(k, v)
        self.end_headers()
        rest = rest[:todo.get("cut", len(rest))]
        s.sent[self.path] = s.sent.get(self.path, 0) + len(rest)
        for k in range(0, len(rest), s.block):
            if s.pause and k: time.sleep(s.pause)
            self.wfile.write(rest[k:k + s.block])
        self.wfile.flush()
        if "stall" in todo: s.released.wait(60)
        self.close_connection = True
    def log_message(self, *args): pass
    def handle(self):
        try: super().handle()
        except OSError: pass                                 # the other side went away

@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1"); monkeypatch.setenv("no_proxy", "127.0.0.1")
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    s.files, s.plan, s.seen, s.sent = {"/f.bin": BODY}, {}, [], {}
    s.etag, s.ranges, s.block, s.pause, s.released = '"v1"', True, 1 << 16, 0, threading.Event()
    s.url = "http://" + f"127.0.0.1:{s.server_port}/"
    threading.Thread(target=s.serve_forever, args=(.01,), daemon=True).start()
    yield s
    s.released.set(); s.shutdown(); s.server_close()

def item(server, path="f.bin", **known): return d.Item(server.url + path, path, **known)
def get(server, folder, *items, patience=QUICK, jobs=1):
    return d.download(list(items) or [item(server)], folder, jobs, patience)
def refused(message, server, folder, *items, **kwargs):
    "The download fails with this message in one line, and no file of these is under its name."
    items = items or (item(server),)
    with pytest.raises(InputError) as e: get(server, folder, *items, **kwargs)
    assert message in str(e.value) and "\n" not in str(e.value)
    for i in items: assert not (folder/i.path).exists()

def whole(folder, path="f.bin", body=BODY):
    assert (folder/path).read_bytes() == body
    assert not [p for p in folder.rglob("*") if p.suffix == ".part" or p.name.endswith((".part.json", ".tmp"))
                or ".tmp" in p.name]
    of = json.loads((folder/"downloads.json").read_text())[path]
    assert (of["bytes"], of["sha256"]) == (len(body), sha256(body))

def ranges(server, path="/f.bin"): return [h.get("Range") for p, h in server.seen if p == path]

# what servers do

def test_a_file_comes_whole(server, tmp_path):
    t = get(server, tmp_path, item(server, bytes=400_000, checksum="md5:" + md5(BODY)))
    whole(tmp_path)
    assert t.to_dict("records") == [dict(path="f.bin", bytes=400_000, sha256=sha256(BODY), fetched=True)]
    assert len(server.seen) == 1 and server.seen[0][1]["Accept-Encoding"] == "identity"

def test_dropped_connections_are_resumed(server, tmp_path):
    server.plan["/f.bin"] = [dict(cut=150_000), dict(cut=100_000)]                       # the length is the right one
    get(server, tmp_path)
    whole(tmp_path)
    assert server.sent["/f.bin"] == 400_000 and ranges(server) == [None, "bytes=150000-", "bytes=250000-"]
    assert [h.get("If-Range") for _, h in server.seen] == [None, '"v1"', '"v1"']

def test_a_wrong_length_that_nothing_contradicts_is_caught_by_the_manifest_or_the_format(server, tmp_path):
    lie = dict(cut=100_000, length=100_000)
    server.plan["/f.bin"] = [lie]*2
    get(server, tmp_path/"a", item(server, bytes=400_000))                                # announced size
    whole(tmp_path/"a")
    server.plan["/f.bin"] = [lie]
    get(server, tmp_path/"b", item(server, checksum="sha256:" + sha256(BODY)))            # checksum
    whole(tmp_path/"b")
    gz = gzip.compress(BODY)
    server.files["/f.gz"], server.plan["/f.gz"] = gz, [lie]
    get(server, tmp_path/"c", item(server, "f.gz"))                                       # the end of the stream
    whole(tmp_path/"c", "f.gz", gz)
    server.plan["/f.gz"] = [lie]*9
    refused("its gzip stream ends early or is damaged", server, tmp_path/"d", item(server, "f.gz"))
    # the same wrong bytes twice are enough
    assert len(server.plan["/f.gz"]) == 7

def test_a_bigwig_is_followed_to_its_end(server, tmp_path):
    write_bigwig(tmp_path/"x.bw",
                 pd.DataFrame(dict(chrom="chr1", start=range(0, 60_000, 2), end=range(1, 60_001, 2), value=1.)))
    body = (tmp_path/"x.bw").read_bytes()
    server.files["/x.bigWig"] = body
    for cut in (30, len(body)//3, len(body) - 300):
        server.plan["/x.bigWig"] = [dict(cut=cut, length=cut)]*9
        refused("ends early", server, tmp_path/str(cut), item(server, "x.bigWig"))
    server.plan.clear()
    get(server, tmp_path/"out", item(server, "x.bigWig"))
    whole(tmp_path/"out", "x.bigWig", body)

def test_ranges_are_ignored(server, tmp_path):
    server.ranges = False
    server.plan["/f.bin"] = [dict(cut=150_000)]
    get(server, tmp_path)
    whole(tmp_path)
    assert server.sent["/f.bin"] == 550_000

def test_always_anew_and_never_whole_is_given_up(server, tmp_path):
    server.ranges = False
    server.plan["/f.bin"] = [dict(cut=150_000)]*9
    refused("the connection broke after 150,000 of 400,000 bytes, 4 attempts", server, tmp_path)
    assert (tmp_path/"f.bin.part").stat().st_size == 150_000

def test_progress_restores_patience(server, tmp_path):
    body = random.Random(2).randbytes(6 << 20)
    # five breaks, with patience for two
    server.files["/big.bin"], server.plan["/big.bin"] = body, [dict(cut=1 << 20)]*5
    get(server, tmp_path, item(server, "big.bin"), patience=d.Patience(tries=2, pause=.001))
    whole(tmp_path, "big.bin", body)
    assert server.sent["/big.bin"] == len(body)

def test_a_wrong_file(server, tmp_path):
    wanted = item(server, checksum="md5:" + md5(b"another"))
    refused(f"its md5 is {md5(BODY)}, not {md5(b'another')}, twice the same", server, tmp_path, wanted)
    assert files(tmp_path) == {} and len(server.seen) == 2

def test_wrong_once(server, tmp_path):
    server.plan["/f.bin"] = [dict(body=BODY[::-1])]
    get(server, tmp_path, item(server, checksum="sha256:" + sha256(BODY)))
    whole(tmp_path)

def test_the_file_changes_between_attempts(server, tmp_path):
    server.plan["/f.bin"] = [dict(cut=150_000, etag='"v0"', body=BODY[::-1])]            # v1 afterwards
    get(server, tmp_path)
    whole(tmp_path)
    assert ranges(server) == [None, "bytes=150000-"] and server.seen[1][1]["If-Range"] == '"v0"'

def test_a_server_that_continues_with_another_version(server, tmp_path):
    # for it, If-Range always holds
    class Always(str):
        def __eq__(self, other): return True
        __hash__ = str.__hash__
    server.plan["/f.bin"] = [dict(cut=150_000, body=BODY[::-1], etag='"v0"'), dict(etag=Always('"v1"'))]
    get(server, tmp_path)
    whole(tmp_path)
    assert ranges(server) == [None, "bytes=150000-", None]

def test_a_rest_that_begins_elsewhere(server, tmp_path):
    server.plan["/f.bin"] = [dict(cut=150_000), {"from": 149_000}]
    get(server, tmp_path)
    whole(tmp_path)

def test_nothing_vouches_for_the_version(server, tmp_path):
    """Without ETag, date or checksum the rest may be of another file: all is fetched again. With a checksum it is
    used."""
    server.etag, server.plan["/f.bin"] = "", [dict(cut=150_000)]
    get(server, tmp_path/"a")
    assert ranges(server) == [None, None]
    server.seen.clear()
    server.plan["/f.bin"] = [dict(cut=150_000)]
    get(server, tmp_path/"b", item(server, checksum="md5:" + md5(BODY)))
    assert ranges(server) == [None, "bytes=150000-"]
    for f in "ab": whole(tmp_path/f)

@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_what_no_attempt_will_mend(status, server, tmp_path):
    server.plan["/f.bin"] = [dict(status=status)]*3
    refused(f"1 of 1 files are missing: f.bin (HTTP {status}", server, tmp_path)
    assert len(server.seen) == 1

@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass(status, server, tmp_path):
    server.plan["/f.bin"] = [dict(status=status)]*2
    get(server, tmp_path)
    whole(tmp_path)
    assert len(server.seen) == 3

def test_attempts_are_bounded(server, tmp_path):
    server.plan["/f.bin"] = [dict(status=500)]*99
    refused("HTTP 500 Internal Server Error, 4 attempts", server, tmp_path)
    assert len(server.seen) == 4

def test_retry_after(server, tmp_path, hear, caplog):
    waits = []
    class Stop(d.Stop):
        def wait(self, t=None): waits.append(t)
    server.plan["/f.bin"] = [dict(status=429, headers={"Retry-After": "1"}), dict(status=503)]
    d.fetch(item(server), d.Records(tmp_path), QUICK, stop=Stop())
    assert waits == [1., QUICK.wait(item(server).url, 2)]
    assert "HTTP 429 Too Many Requests; again in 1.0 s" in caplog.text
    whole(tmp_path)
    server.plan["/f.bin"] = [dict(status=429, headers={"Retry-After": "3600"})]
    refused("the server asks to wait 3,600 s", server, tmp_path/"other")

def test_silence(server, tmp_path):
    server.plan["/f.bin"] = [dict(cut=150_000, stall=True)]
    get(server, tmp_path)
    server.released.set()
    whole(tmp_path)
    # a block at most is fetched twice
    assert 400_000 <= server.sent["/f.bin"] <= 400_000 + (1 << 15)

def test_nobody_there(server, tmp_path):
    refused("the server refuses connections, 4 attempts", server, tmp_path, d.Item("http://" + "127.0.0.1:1/f", "f"))

def test_redirects(server, tmp_path):
    to = lambda where: dict(status=302, headers={"Location": where})
    server.plan |= {"/a": [to("/b")], "/b": [to(server.url + "f.bin")]}
    server.files |= {"/a": b"", "/b": b""}
    get(server, tmp_path, d.Item(server.url + "a", "f.bin"))
    whole(tmp_path)
    for where in ("ftp://e.org/x", "file:///etc/passwd", "data:,x"):
        server.plan["/a"] = [to(where)]
        refused("which is not followed", server, tmp_path, d.Item(server.url + "a", "a"))
    server.plan["/a"] = [to("/a")]*99
    refused("more than 10 redirects", server, tmp_path, d.Item(server.url + "a", "a"))
    with pytest.raises(d.Never, match="redirected from https to 'http://e.org/x'"):
        d.next_hop("https://e.org/x", "http://e.org/x")

def test_a_web_page_in_its_place(server, tmp_path):
    server.plan["/f.bin"] = [dict(body=b"<html>Please log in</html>",
                                  headers={"Content-Type": "text/html; charset=utf-8"})]
    refused("the server sends a web page in its place", server, tmp_path)

def test_compressed_on_the_way(server, tmp_path):
    server.plan["/f.bin"] = [dict(headers={"Content-Encoding": "gzip"})]
    refused("the server sends it compressed (gzip)", server, tmp_path)
    # a server that takes .gz for an encoding: the bytes are the file's
    gz = gzip.compress(BODY)
    server.files["/f.gz"], server.plan["/f.gz"] = gz, [dict(headers={"Content-Encoding": "x-gzip"})]
    get(server, tmp_path, item(server, "f.gz"))
    whole(tmp_path, "f.gz", gz)

def test_a_length_that_nobody_tells(server, tmp_path):
    server.plan["/f.bin"] = [dict(silent_length=True, cut=100_000)]*9
    refused("nothing tells whether it is whole", server, tmp_path/"a")
    server.plan["/f.bin"] = [dict(silent_length=True, cut=100_000), dict(silent_length=True)]
    # cut short once: the checksum tells
    get(server, tmp_path/"b", item(server, checksum="md5:" + md5(BODY)))
    whole(tmp_path/"b")

def test_an_empty_file(server, tmp_path):
    server.files["/e.txt"] = b""
    get(server, tmp_path, item(server, "e.txt"))
    whole(tmp_path, "e.txt", b"")
    server.files["/e.gz"] = b""
    refused("it is not gzip", server, tmp_path, item(server, "e.gz"))

# what is left of earlier attempts

def leave(folder, body, server, etag='"v1"', total=400_000):
    folder.mkdir(parents=True, exist_ok=True)
    (folder/"f.bin.part").write_bytes(body)
    if etag:
        (folder/"f.bin.part.json").write_text(json.dumps(dict(url=server.url + "f.bin", etag=etag, modified="",
                                                              total=total)))

def test_a_part_is_resumed(server, tmp_path):
    leave(tmp_path, BODY[:300_000], server)
    get(server, tmp_path)
    whole(tmp_path)
    assert server.sent["/f.bin"] == 100_000

def test_a_complete_part_is_not_fetched_again(server, tmp_path):
    leave(tmp_path, BODY, server)
    get(server, tmp_path)
    whole(tmp_path)
    assert server.seen == []

@pytest.mark.parametrize("size", [300_000, 400_000])
def test_a_corrupt_part_is_fetched_anew(size, server, tmp_path):
    leave(tmp_path, b"\0"*size, server)
    get(server, tmp_path, item(server, checksum="md5:" + md5(BODY)))
    whole(tmp_path)
    assert ranges(server)[-1] is None

def test_parts_that_are_of_no_use(server, tmp_path):
    # nobody knows of which version
    leave(tmp_path/"a", BODY[:300_000], server, etag="")
    leave(tmp_path/"b", BODY + b"more", server)                                           # too long
    leave(tmp_path/"c", BODY[:300_000], server)
    (tmp_path/"c"/"f.bin.part.json").write_text("{half")                                  # the note is broken
    leave(tmp_path/"d", BODY[:300_000], server, etag=7)                                   # is none
    leave(tmp_path/"e", BODY[:300_000], server, total="x")
    for f in "abcde": get(server, tmp_path/f); whole(tmp_path/f)
    assert server.sent["/f.bin"] == 2_000_000

def test_a_part_beyond_the_end(server, tmp_path):
    "The file was replaced by a shorter one, and the manifest has its checksum: 416, and anew."
    leave(tmp_path, BODY[:300_000], server, etag="")
    server.files["/f.bin"] = BODY[:200_000]
    get(server, tmp_path, item(server, checksum="md5:" + md5(BODY[:200_000])))
    whole(tmp_path, body=BODY[:200_000])

def test_a_link_in_the_place_of_the_part(server, tmp_path):
    (tmp_path/"out").mkdir(); (tmp_path/"precious").write_bytes(b"precious")
    os.symlink(tmp_path/"precious", tmp_path/"out"/"f.bin.part")
    try: get(server, tmp_path/"out")
    except InputError: pass
    assert (tmp_path/"precious").read_bytes() == b"precious"

def test_killed(server, tmp_path):
    "A process that is killed in the middle leaves a part; the next one fetches the rest."
    server.pause, server.block = .05, 40_000
    args = [sys.executable, "-c",
            "import sys; from chromexpress.download import *; download([Item(sys.argv[1], 'f.bin')], sys.argv[2])",
            server.url + "f.bin", str(tmp_path)]
    p, part = subprocess.Popen(args, **PIPES | dict(env=ENV | dict(NO_PROXY="127.0.0.1"))), tmp_path/"f.bin.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 100_000) and p.poll() is None and time.monotonic() < end:
        time.sleep(.005)
    p.send_signal(signal.SIGKILL); p.communicate()
    assert p.returncode == -signal.SIGKILL and not (tmp_path/"f.bin").exists()
    n = part.stat().st_size
    assert 100_000 <= n < 400_000 and BODY.startswith(part.read_bytes())
    server.pause = 0
    server.sent.clear()
    get(server, tmp_path)
    whole(tmp_path)
    assert server.sent["/f.bin"] == 400_000 - n

# what is there already

def test_whole_files_are_left_alone(server, tmp_path, hear, caplog):
    get(server, tmp_path)
    before = (tmp_path/"f.bin").stat().st_mtime_ns
    t = get(server, tmp_path)
    assert len(server.seen) == 1 and (tmp_path/"f.bin").stat().st_mtime_ns == before and not t.fetched.any()
    assert "1 of 1 files are there already, and whole" in caplog.text
    # copied: the content decides
    os.utime(tmp_path/"f.bin", ns=(1, 1))
    get(server, tmp_path)
    assert len(server.seen) == 1

@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:-1] + b"\0", lambda b: b""])
def test_a_file_that_was_damaged_later(spoil, server, tmp_path):
    get(server, tmp_path)
    (tmp_path/"f.bin").write_bytes(spoil(BODY))
    os.utime(tmp_path/"f.bin", ns=(1, 1))
    get(server, tmp_path)
    whole(tmp_path)

def test_the_users_own_files(server, tmp_path, hear, caplog):
    """With a checksum a right file is taken as it is; a wrong one, or one that nothing is known of, is kept under
    another name."""
    (tmp_path/"f.bin").write_bytes(BODY)
    get(server, tmp_path, item(server, checksum="md5:" + md5(BODY)))
    assert server.seen == []
    other = tmp_path/"other"; other.mkdir(); (other/"f.bin").write_bytes(BODY[:1000])
    get(server, other)
    assert (other/"f.bin").read_bytes() == BODY and (other/"f.bin.before").read_bytes() == BODY[:1000]
    assert "it is f.bin.before now" in caplog.text

def test_another_checksum_or_address_is_another_file(server, tmp_path):
    server.files["/g.bin"] = BODY[::-1]
    get(server, tmp_path)
    get(server, tmp_path, d.Item(server.url + "g.bin", "f.bin"))
    whole(tmp_path, body=BODY[::-1])
    get(server, tmp_path, d.Item(server.url + "f.bin", "f.bin", None, "md5:" + md5(BODY)))
    whole(tmp_path)

def test_one_download_a_folder(server, tmp_path):
    with d.locked(tmp_path): refused("another download is at work in this folder", server, tmp_path)
    get(server, tmp_path)
    whole(tmp_path)

@pytest.mark.parametrize("text", ["{half", "[1]", '{"f.bin": 1}', '{"f.bin": {"bytes": 400000}}'])
def test_records_that_were_damaged(text, server, tmp_path):
    (tmp_path/"downloads.json").write_text(text)
    get(server, tmp_path)
    whole(tmp_path)

# many

def test_the_summary_names_what_is_missing(server, tmp_path):
    server.files |= {f"/{k}": bytes([k])*10 for k in range(3)}
    wanted = [item(server, str(k)) for k in (7, 0, 8, 1, 9, 2, 10)]
    with pytest.raises(InputError) as e: get(server, tmp_path, *wanted, jobs=3)
    assert str(e.value) == (f"{tmp_path}: 4 of 7 files are missing: 7 (HTTP 404 Not Found); 8 (HTTP 404 Not Found); "
                            "9 (HTTP 404 Not Found); "
                            "and 1 more. What is whole stays; run the same command again to go on.")
    for k in range(3): whole(tmp_path, str(k), bytes([k])*10)
    server.files |= {f"/{k}": b"late" for k in (7, 8, 9, 10)}
    server.seen.clear()
    assert get(server, tmp_path, *wanted, jobs=3).fetched.tolist() == [True, False, True, False, True, False, True]
    assert sorted(p for p, _ in server.seen) == ["/10", "/7", "/8", "/9"]

def test_lines_of_the_log(server, tmp_path, hear, caplog):
    server.files |= {"/a.gz": gzip.compress(b"a")}
    get(server, tmp_path, item(server, checksum="md5:" + md5(BODY)), item(server, "a.gz"))
    lines = [r.getMessage() for r in caplog.records]
    assert lines == ["[1/2] f.bin: 0.4 MB, md5 is right.", "[2/2] a.gz: 0.0 MB, whole, by its length and format."]

def test_how_far_it_is(server, tmp_path, hear, caplog):
    server.pause, server.block = .02, 40_000
    get(server, tmp_path, patience=d.Patience(report=.05))
    assert "0 of 1 files, 0." in caplog.text

@pytest.mark.parametrize("code,text",
                         [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")])
def test_the_disk(code, text, server, tmp_path, monkeypatch):
    real, left = d._write, [2]
    def write(f, block):
        if not left[0]: raise OSError(code, os.strerror(code))
        left[0] -= 1
        real(f, block)
    monkeypatch.setattr(d, "_write", write)
    server.files["/g.bin"] = BODY
    refused(f"cannot write here ({text}); what is whole stays", server, tmp_path, item(server), item(server, "g.bin"))
    assert len(server.seen) == 1                                                          # the others are not begun
    monkeypatch.setattr(d, "_write", real)
    get(server, tmp_path)
    whole(tmp_path)
    assert ranges(server)[-1] == f"bytes={2 << 15}-"                                      # and what was there is used

def test_a_read_only_folder(server):
    "Root may write anywhere, so root is nobody for a moment."
    folder, root = Path(tempfile.mkdtemp()), os.geteuid() == 0
    folder.chmod(0o555)
    if root: os.seteuid(65534)
    try: refused("cannot write here (Permission denied)", server, folder)
    finally:
        if root: os.seteuid(0)
        folder.rmdir()

def test_a_file_in_the_place_of_the_folder(server, tmp_path):
    (tmp_path/"x").write_text("")
    with pytest.raises(InputError, match="cannot write here"): get(server, tmp_path/"x"/"y")

@pytest.mark.parametrize("stall", [False, True])
def test_interrupted(stall, server, tmp_path):
    "Also while a server is silent, which is waited for a minute otherwise."
    if stall: server.plan["/f.bin"] = [dict(cut=150_000, stall=True)]
    else: server.pause, server.block = .05, 20_000
    code = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from chromexpress.cli "
            "import main; main(sys.argv[1:])")
    # background jobs begin with SIGINT ignored
    args = [sys.executable, "-c", code, "download", "encode", str(tmp_path/"m.csv")]
    (tmp_path/"m.csv").write_text(f"url,path\n{server.url}f.bin,f.bin\n")
    p = subprocess.Popen(args, **PIPES | dict(env=ENV | dict(NO_PROXY="127.0.0.1")))
    end = time.monotonic() + 60
    while not (tmp_path/"f.bin.part").exists() and p.poll() is None and time.monotonic() < end: time.sleep(.005)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 130 and err.endswith("chromexpress: interrupted; the same command goes on from here.\n")
    assert "Traceback" not in err

# manifests

BAD = ["/etc/x", "../x", "a/../../x", "a/..", "C:/x", "c:x", "..\\x", "a\\b", "\\\\host\\x", "a\0b", "a\nb", "", ".",
       "a//b", "a/", "./a", "~/../x",
       "link/x", "link", "downloads.json", "study.toml", "x.part", "x.part.json", "x"*201]
@pytest.mark.parametrize("path", BAD)
def test_no_path_leaves_the_folder(path, tmp_path):
    (tmp_path/"out").mkdir(); (tmp_path/"away").mkdir()
    os.symlink(tmp_path/"away", tmp_path/"out"/"link")
    with pytest.raises(InputError, match="^path .*needs a relative path inside"): d.safe_path(path, tmp_path/"out")
    with pytest.raises(InputError, match="^path .*needs a relative path inside"):
        d.download([d.Item("https://e.org/x", path)], tmp_path/"out", 1, QUICK)
    assert list((tmp_path/"away").iterdir()) == [] and [p.name for p in (tmp_path/"out").iterdir()] == ["link"]

def test_links_inside_are_fine(tmp_path):
    (tmp_path/"real").mkdir()
    os.symlink(tmp_path/"real", tmp_path/"link")
    assert d.safe_path("link/x", tmp_path) == tmp_path/"link"/"x"

def manifest(folder, text):
    (folder/"m.csv").write_bytes(text.encode())
    return folder/"m.csv"

def test_all_that_is_wrong_with_a_manifest(server, tmp_path, capsys):
    m = manifest(tmp_path, "url,path,bytes,checksum\n" "https://e.org/1,a/b,1,\n" "https://e.org/2,../b,1,\n"
                 "ftp://e.org/3,c,1,\n" "https://e.org/4,d,1e3,\n"
                 "https://e.org/5,e,1,md5:12\n" f"https://e.org/6,f,1,sha1:{'0'*32}\n" "https://e.org/7,a/b,,\n"
                 "https://e.org/8,a/b/c,,\n" "e.org/9,g,-1,\n")
    with pytest.raises(InputError) as e: d.read_manifest(m, tmp_path)
    said = str(e.value).splitlines()
    assert said[0] == f"{m}: 8 problems"
    for line, word in [(3, "path '../b'"), (4, "url 'ftp://e.org/3'"), (5, "bytes '1e3'"), (6, "checksum 'md5:12'"),
                       (7, "checksum 'sha1:"), (9, "path 'a/b/c'"), (10, "bytes '-1'")]:
        assert any(s.startswith(f"  - line {line}: {word}") for s in said), (line, said)
    assert "  - path 'a/b' stands in lines 2, 8; each file needs a path of its own." in said
    assert cli("download", "encode", m) == 2 and "8 problems" in capsys.readouterr().err and server.seen == []

def test_a_zero_byte_in_a_manifest(tmp_path):
    for text in ("url,path\nhttps://e.org/x,a\0b\n", "url,path\nhttps://e.org/\0x,ab\n"):
        with pytest.raises(InputError, match="control character|cannot be read|needs an address"):
            d.read_manifest(manifest(tmp_path, text), tmp_path)

def test_forms_of_a_manifest(server, tmp_path, hear, caplog):
    text = (f"path,url,checksum,bytes,note\r\na.bin,/f.bin,{md5(BODY).upper()},400000,x\r\nsub/b.bin,{server.url}f.bin,,,\r\n")
    assert d.download_manifest("encode", manifest(tmp_path, text), "", server.url, 2, QUICK) == tmp_path
    for p in ("a.bin", "sub/b.bin"): assert (tmp_path/p).read_bytes() == BODY
    assert "1 of 2 files have no bytes" in caplog.text and "1 of 2 files have no checksum" in caplog.text
    assert d.read_manifest(manifest(tmp_path, text.replace(",", "\t")), tmp_path,
                           server.url)[0] == d.Item(server.url + "f.bin", "a.bin", 400_000, "md5:" + md5(BODY))

@pytest.mark.parametrize("text,message", [("url,bytes\nx,1\n", "no column 'path'"), ("url,path\n", "no files"),
                                          ("", "first line is empty")])
def test_no_manifest(text, message, tmp_path):
    with pytest.raises(InputError, match=message): d.read_manifest(manifest(tmp_path, text), tmp_path)

def test_the_command_with_a_manifest(server, tmp_path, capsys, monkeypatch):
    m = manifest(tmp_path, f"url,path,bytes,checksum\n/f.bin,f.bin,400000,{sha256(BODY)}\n/no.bin,no.bin,,\n")
    assert cli("download", "geo", "--out", tmp_path/"g", m, "--base-url", server.url) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.endswith(f"chromexpress: {tmp_path/'g'}: 1 of 2 files are missing: no.bin (HTTP 404 Not "
                                      "Found). What is whole stays; "
                                      "run the same command again to go on.\n") and "Traceback" not in err
    server.files["/no.bin"] = b"now"
    assert cli("download", "geo", m, "--out", tmp_path/"g", "--base-url", server.url) == 0
    assert capsys.readouterr().out == f"{tmp_path/'g'}\n" and server.sent == {"/f.bin": 400_000, "/no.bin": 3}

@pytest.mark.parametrize("args,message", [
    (["nix"], "needs roadmap, or encode or geo and a manifest"), (["encode"], "needs one manifest"),
    (["geo", "a", "b"], "needs one manifest, not 2"),
    (["roadmap"], "--cells: needs one or more"), (["roadmap", "m.csv"], "needs no manifest, but --cells"),
    (["encode", "m.csv", "--cells", "E003"], "belongs to"),
    (["roadmap", "--cells", "E003", "--jobs", "0"], "--jobs 0: needs 1 or more"),
    (["roadmap", "--cells", "E003", "--tries", "0"], "--tries 0: needs 1"),
    (["roadmap", "--cells", "E003", "--signal", "fc"], "--signal fc: is none of reads, pval"),
    (["roadmap", "--cells", "K562"], "did you mean E123 (K562 leukemia)?"),
    (["roadmap", "--cells", "E003", "--marks", "H3K4me4"], "no such assay; did you mean"),
    (["roadmap", "--cells", "E001", "--marks", "DNase"], "not measured in E001"),
    (["roadmap", "--cells", "E003", "--base-url", "ftp://e.org"], "needs an address that begins with https://")])
def test_wrong_words(args, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(requests.Session, "send", lambda *a, **k: pytest.fail("something was fetched"))
    assert cli("download", *args) == 2 and message in capsys.readouterr().err and list(tmp_path.iterdir()) == []

# Roadmap

@pytest.fixture
def roadmap(server): # the published places
    data = "roadmap/data/"
    matrix = gzip.compress(b"gene_id\tE000\tE003\tE116\t\nENSG1\t1\t2\t3\t\nENSG2\t4\t5\t6\t\t\n")
    server.files = {f"/{data}byDataType/rna/expression/57epigenomes.RPKM.pc.gz": matrix}
    for c in ("E001", "E003", "E116"):
        for m in r.ASSAYS:
            server.files[f"/{data}byFileType/alignments/consolidated/{c}-{m}.tagAlign.gz"] = gzip.compress(
                b"chr1\t0\t36\tN\t1000\t+\n")
    return server

def test_a_study_out_of_roadmap(roadmap, tmp_path, capsys):
    out = tmp_path/"r"
    assert cli("download", "roadmap", "--cells", "E003,E116", "--marks", "all", "--out", out, "--base-url",
               roadmap.url) == 0
    printed, err = capsys.readouterr()
    assert printed == f"{out/'study.toml'}\n" and "genes.tsv, which was NOT downloaded" in err
    text = (out/"study.toml").read_text()
    s = tomllib.loads(text)
    marks = ["H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "H3K9ac"]
    assert s["tracks"] == {c: {m: f"{c}-{m}.tagAlign.gz" for m in marks} for c in ("E003", "E116")}
    assert s["assembly"] == "hg19"
    assert "The gene table was NOT downloaded" in text and len(roadmap.seen) == 15
    problems = Problems()
    parse_study(out/"study.toml", problems)
    assert [p for p in problems.found if "genes.tsv" not in p] == [] and len(problems.found) == 1
    (out/"genes.tsv").write_text("gene_id\tchrom\ttss\tstrand\nENSG1\tchr1\t1000\t+\nENSG2\tchr2\t2000\t-\n")
    problems = Problems()
    study = parse_study(out/"study.toml", problems)
    problems.check()
    assert study.expression[["cell", "gene_id", "value"]].values.tolist() == [["E003", "ENSG1", 2.],
        ["E003", "ENSG2", 5.], ["E116", "ENSG1", 3.], ["E116", "ENSG2", 6.]]
    (out/"study.toml").write_text("# mine\n")
    assert cli("download", "roadmap", "--cells", "E003", "--marks", "H3K4me3,DNase", "--out", out, "--base-url",
               roadmap.url) == 0
    assert (out/"study.toml").read_text() == "# mine\n" and "left as it is" in capsys.readouterr().err
    assert [p
        for p, _ in roadmap.seen[15:]] == ["/roadmap/data/byFileType/alignments/consolidated/E003-DNase.tagAlign.gz"]

def test_no_study_of_half_a_download(roadmap, tmp_path, capsys):
    del roadmap.files["/roadmap/data/byFileType/alignments/consolidated/E003-H2A.Z.tagAlign.gz"]
    assert cli("download", "roadmap", "--cells", "E003", "--marks", "H2A.Z,H3K4me3", "--out", tmp_path, "--base-url",
               roadmap.url) == 2
    assert "1 of 3 files are missing: E003-H2A.Z.tagAlign.gz (HTTP 404 Not Found)" in capsys.readouterr().err
    assert sorted(files(tmp_path)) == ["57epigenomes.RPKM.pc.gz", "E003-H3K4me3.tagAlign.gz", "downloads.json"]

def test_cells_without_rna(roadmap, tmp_path, hear, caplog):
    r.download_roadmap(tmp_path/"both", "E001,E003", "H3K4me3", base=roadmap.url, patience=QUICK)
    s = tomllib.loads((tmp_path/"both"/"study.toml").read_text())
    assert list(s["tracks"]) == ["E003"] == list(s["expression"]["cells"])
    assert "no RNA for E001" in caplog.text.replace("'", "")
    assert '# [tracks.E001]' in (tmp_path/"both"/"study.toml").read_text()
    r.download_roadmap(tmp_path/"alone", "E001", "H3K4me3", base=roadmap.url, patience=QUICK)
    s = tomllib.loads((tmp_path/"alone"/"study.toml").read_text())
    assert s["tracks"] == {"E001": {"H3K4me3": "E001-H3K4me3.tagAlign.gz"}} and "expression" not in s
    assert "grid" not in s

def test_places_at_the_source():
    at = [i.url for i in r.roadmap_items({"E003": ["H3K4me3"]}, "pval")]
    assert at == ["https://egg2.wustl.edu/roadmap/data/byDataType/rna/expression/57epigenomes.RPKM.pc.gz",
                  "https://egg2.wustl.edu/roadmap/data/byFileType/signal/consolidated/macs2signal/pval/E003-H3K4me3.pval.signal.bigwig"]
    assert r.roadmap_items({"E003": ["DNase"]})[1].url.endswith(
        "/roadmap/data/byFileType/alignments/consolidated/E003-DNase.tagAlign.gz")

def test_cells_with_rna_are_those_of_the_real_matrix(data):
    with gzip.open(data/"roadmap_rpkm.tsv.gz", "rt") as f: assert f.readline().split()[1:] == r.WITH_RNA

# waiting

def test_pauses_grow_differ_and_are_the_same_every_time():
    p = d.Patience(pause=1, longest=60)
    for k in range(1, 12):
        a, b = p.wait("a", k), p.wait("b", k)
        assert min(60, 2**(k - 1))/2 <= a <= min(60, 2**(k - 1)) and a != b
        assert a == d.Patience(pause=1, longest=60).wait("a", k)

def test_the_proxy_of_the_environment_is_used_for_real_hosts(server, tmp_path, monkeypatch):
    # a proxy is asked for the whole address
    server.files["http://e.org/f.bin"] = BODY
    monkeypatch.setenv("http_proxy", server.url); monkeypatch.delenv("no_proxy"); monkeypatch.delenv("NO_PROXY")
    get(server, tmp_path, d.Item("http://e.org/f.bin", "f.bin"))
    whole(tmp_path)
