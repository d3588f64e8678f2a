"""Looks at the page as people do, with a browser, on a run tree with hostile names.

What is checked is promised in docs/page.md. Exit status 1 tells that a promise was broken.
"""
import argparse
import json
import os
import re
import socket
import time
from urllib.parse import quote, urlparse
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

import proxy
import world

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = "run_20251117_104700"
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
# Told by the page itself, before anything else of it runs.
WITNESS = "window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective + ' ' + e.blockedURI));"
PATIENCE = 60_000  # ms, for a machine that is busy


class Suite:
    def __init__(self, options):
        self.options, self.failures, self.checks, self.spoken, self.asked = options, [], 0, [], []
        self.world = world.World(os.path.abspath(options.binary), os.path.abspath(options.work))
        self.netlog = os.path.join(options.work, "netlog.json")
        with open(os.path.join(HERE, "look.js")) as f:
            self.look_js = f.read()

    def check(self, what, good, detail=""):
        self.checks += 1
        if not good:
            self.failures.append(what)
            print(f"FAIL {what}: {detail}", flush=True)

    def run(self):
        self.prepare()
        with sync_playwright() as playwright:
            self.browser = playwright.chromium.launch(executable_path=self.options.browser, args=[
                *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--log-net-log={self.netlog}",
                "--host-resolver-rules=MAP stranger.example 127.0.0.1,MAP bundles.example 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE 127.0.0.1"])
            try:
                for step in (self.pictures, self.every_bundle, self.loads_again, self.live, self.without_script, self.strangers, self.below_a_path, self.crowd):
                    began = time.monotonic()
                    step()
                    print(f"{step.__name__.replace('_', ' ')}: {time.monotonic() - began:.1f} s", flush=True)
            finally:
                self.browser.close()
        self.world.stop()
        self.nothing_left_the_host()
        if self.spoken:
            self.check("the browser has nothing to complain of", False, self.spoken[:5])

    def prepare(self):
        w = self.world
        w.configure()
        for run, epochs, elements in ((RUN, 12, 900), ("sweep/lr=1e-3/seed_1", 5, 300)):
            w.run_config(run)
            for epoch in range(epochs):
                w.epoch(run, epoch, elements=elements + 90 * (epoch % 4))
        w.run_config("wide")
        w.epoch("wide", 0, tensors=[f"encoder.layers.{i}.weight" for i in range(250)], elements=2)
        for run in world.HOSTILE:
            w.run_config(run)
            w.epoch(run, 0)
        w.once()
        w.backdate(lambda run, epoch: (12 - epoch) * 300 + 40 * (epoch % 3) if run == RUN else (20 - epoch) * 900)
        for run in world.REFUSED:
            w.run_config(run)
            w.epoch(run, 0)
        w.run_config("broken")
        w.write(b"not a checkpoint", "runs", "broken", "checkpoints", "autoencoder-epoch=00.ckpt")
        w.epoch(RUN, 12, roles=("autoencoder",))
        for stray in ("train.log", "<img src=x onerror=window.pwned=7>.log"):
            w.write(b"x" * 3000, "project", stray)
        w.configure(rate="4MiB", min_age="1s")
        w.start()
        self.base = f"http://{w.address}/"

    # -- pages

    def open(self, path="", base=None, **how):
        context = self.browser.new_context(**how)
        context.add_init_script(WITNESS)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda r: self.asked.append(r.url))
        page.on("console", lambda m: m.type in ("error", "warning") and "untrustworthy" not in m.text and self.spoken.append(f"{page.url}: {m.text}"))
        page.on("pageerror", lambda e: self.spoken.append(f"{page.url}: {e}"))
        page.on("dialog", lambda d: (self.spoken.append("a dialog"), d.dismiss()))
        page.goto((base or self.base) + path)
        return page

    def harmless(self, page, what):
        """The page is as every page must be, and nothing on it has run that is not ours."""
        problems = page.evaluate(self.look_js)
        self.check(f"{what} is as every page must be", not problems, problems)
        self.check(f"nothing foreign ran on {what}", page.evaluate("window.pwned === undefined"), page.evaluate("window.pwned"))
        self.check(f"{what} violates no policy", page.evaluate("violations.length === 0"), page.evaluate("violations"))

    def pictures(self):
        self.world.epoch(RUN, 13, elements=700_000)  # packs for a while
        for view, how in VIEWS.items():
            page = self.open(**how)
            page.wait_for_selector("#link.mood-ok")
            page.wait_for_selector("#runs .plot line.mark", state="attached")
            for name, path in (("status", ""), ("bundles", f"bundles?in=ptycho/{RUN}"), ("bundle", f"bundle?at=ptycho/{RUN}/11")):
                if path:
                    page.goto(self.base + path)
                self.harmless(page, f"{name} ({view})")
                page.screenshot(path=os.path.join(self.options.pictures or self.options.work, f"{name}-{view}.png"), full_page=True)
            self.headers(page)
            page.context.close()

    def headers(self, page):
        headers = page.goto(self.base).headers
        self.check("the policy allows nothing inline", "default-src 'none'" in headers["content-security-policy"]
                   and "unsafe" not in headers["content-security-policy"], headers)

    def every_bundle(self):
        page = self.open("bundles?in=ptycho")
        seen, todo, bundles = set(), [page.url], 0
        while todo:
            url = todo.pop()
            if url in seen:
                continue
            seen.add(url)
            page.goto(url)
            shown = page.inner_text("main")
            self.check(f"no hidden character on {url}", not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", shown), repr(shown[:300]))
            self.harmless(page, url)
            links = page.eval_on_selector_all("tbody th a", "all => all.map(a => a.href)")
            is_bundle = urlparse(url).path == "/bundle"
            bundles += is_bundle
            if not is_bundle and RUN not in url and "sweep" not in url:
                todo += links
        self.check("the bundles of hostile runs were seen", bundles >= len(world.HOSTILE), bundles)
        page.goto(self.base + "bundle?at=ptycho/wide/00")
        page.fill("#tensors input[type=search]", "LAYERS.24")
        page.click("#tensors button")
        self.check("tensors are searched", page.locator("#tensors tbody tr").count() == 11, page.locator("#tensors tbody tr").count())
        page.goto(self.base + "bundle?at=ptycho/wide/00")
        page.click("#tensors a[rel=next]")
        self.check("tensors have pages", "encoder.layers.100.weight" in page.inner_text("#tensors"))
        page.context.close()

    def live(self):
        """What happens is seen without loading the page again."""
        page = self.open()
        page.evaluate("window.same = true")
        page.wait_for_selector("#link.mood-ok")
        page.click("#runs summary")
        self.world.epoch(RUN, 14, elements=1_200_000)
        bar = page.locator("#packs progress[value]")
        bar.first.wait_for()
        first = int(bar.first.get_attribute("value"))
        page.wait_for_function("first => { const p = document.querySelector('#packs progress[value]'); return p && +p.value > first }", arg=first)
        page.wait_for_selector(f"#runs details[open] >> text={RUN}/14")
        page.wait_for_selector(f"#runs a[href*='{quote(RUN)}%2f14'] line.mark", state="attached")
        self.world.epoch("<b>new</b>", 0, roles=("autoencoder",))
        page.wait_for_selector("#waiting >> text=<b>new</b>/00")
        page.wait_for_selector("#tidy >> text=onerror=window.pwned=7")
        self.check("the page was not loaded again", page.evaluate("window.same === true"))
        self.harmless(page, "the page after it was changed")
        page.context.close()

    def loads_again(self):
        self.patient, self.loads = self.open(java_script_enabled=False, viewport={"width": 390, "height": 844}), []
        self.patient.on("request", lambda r: r.is_navigation_request() and self.loads.append(r.url))

    def without_script(self):
        page = self.patient  # has been open for a while
        for section in ("Being packed", "Sets that wait", "Published bundles", "Roots", "Stores and registries", "Refusals", "Disk", "Tidied files"):
            self.check(f"{section} without script", page.get_by_role("heading", name=section).count() == 1)
        stores = page.inner_text("#destinations")
        for what in ("nowhere", "fails", "still to go", "last probe", "cannot be reached"):
            self.check(f"stores show \"{what}\" without script", what in stores, stores)
        self.check("no key of a store is shown", world.STORE_SECRET not in page.content() and world.STORE_KEY not in page.content())
        self.check("the daemon is listened to without script", "epoch=12.ckpt" in page.inner_text("#waiting"), page.inner_text("#waiting"))
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.loads and time.monotonic() < deadline:
            page.wait_for_timeout(200)
        self.check("it is loaded anew without script", self.loads)
        page.click("nav a >> text=Bundles")
        page.click("text=ptycho")
        page.click(f"text={RUN}")
        page.click("tbody a >> nth=0")
        self.check("bundles are found without script", "load_bundle" in page.inner_text("main"))
        page.context.close()

    # -- the world around

    def strangers(self):
        server = proxy.serve(self.world.address)
        port = self.world.address.rsplit(":", 1)[1]
        spoken, self.spoken = self.spoken, []  # the browser complains of them, as it should
        page = self.open(base=f"http://stranger.example:{server.server_port}/", path="stranger")
        page.wait_for_function("got.length >= 2")
        self.check("pages of others are told nothing", page.evaluate("got.every((word) => word === 'refused')"), page.evaluate("got"))
        frames = [f.url for f in page.frames[1:]]
        self.check("pages of others cannot frame it", all(self.world.address not in url for url in frames), frames)
        answer = page.goto(f"http://stranger.example:{port}/")
        self.check("a foreign name that points here is sent away", answer.status == 421, answer.status)
        page.context.close()
        self.spoken = spoken
        server.shutdown()

    def below_a_path(self):
        server = proxy.serve(self.world.address)
        page = self.open(base=f"http://bundles.example:{server.server_port}{proxy.PREFIX}/")
        page.wait_for_selector("#link.mood-ok")
        page.wait_for_selector("#runs .plot line.mark", state="attached")
        page.click("nav a >> text=Bundles")
        page.click("text=ptycho")
        page.click(f"text={RUN}")
        page.click("tbody a >> nth=0")
        self.harmless(page, "a bundle below a path")
        self.check("links stay below the path", urlparse(page.url).path == proxy.PREFIX + "/bundle", page.url)
        page.click(".brand")
        page.wait_for_selector("#link.mood-ok")
        self.check("and lead back", urlparse(page.url).path == proxy.PREFIX + "/", page.url)
        page.context.close()
        server.shutdown()

    def crowd(self):
        """Clients that hold on to everything they can get keep no bundle from being published."""
        host, port = self.world.address.rsplit(":", 1)
        clients = []
        for _ in range(40):
            c = socket.create_connection((host, int(port)), timeout=30)
            c.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(c)
        answers = [c.recv(32).split(b" ")[1:2] for c in clients]
        self.check("the crowd is bounded", 20 <= answers.count([b"200"]) <= 24 and answers.count([b"200"]) + answers.count([b"503"]) == 40, answers)
        self.world.epoch("in-a-crowd", 0, elements=10)
        self.world.run_config("in-a-crowd")
        place = self.world.path("artifacts", "ptycho", "in-a-crowd", "00", "SHA256SUMS")
        deadline = time.monotonic() + PATIENCE / 1000
        while not os.path.exists(place) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.check("bundles are published in a crowd", os.path.exists(place))
        with urlopen(f"{self.base}metrics", timeout=30) as answer:
            self.check("metrics are there in a crowd", b"bundlewatch_bundles_published_total" in answer.read())
        for c in clients:
            c.close()

    def nothing_left_the_host(self):
        """What the browser asks for itself (updates, its own servers) is not of the page; its names lead nowhere here."""
        with open(self.netlog) as f:
            log = json.load(f)
        names = {number: name for name, number in log["constants"]["logEventTypes"].items()}
        addresses, hosts = set(), set()
        for event in log["events"]:
            params = event.get("params", {})
            if names[event["type"]].startswith("TCP_CONNECT") and "address" in params:
                addresses.add(params["address"].rsplit(":", 1)[0])
            ours = urlparse(params.get("initiator", "")).hostname in ("127.0.0.1", "bundles.example")
            if names[event["type"]] == "URL_REQUEST_START_JOB" and ours and "url" in params:
                hosts.add(urlparse(params["url"]).hostname)
        self.check("only this host was connected to", addresses == {"127.0.0.1"}, addresses)
        self.check("the page asked only this host", hosts == {"127.0.0.1", "bundles.example"}, hosts)
        asked = {urlparse(url).hostname for url in self.asked}
        self.check("only this host was asked for", asked == {"127.0.0.1", "stranger.example", "bundles.example"}, asked)


def main():
    parser = argparse.ArgumentParser()
    for name in ("binary", "browser", "work"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--pictures", help="keep the screenshots in this directory")
    suite = Suite(parser.parse_args())
    try:
        suite.run()
    finally:
        suite.world.stop()
    print(f"page: {suite.checks} checks, {len(suite.failures)} failed")
    raise SystemExit(1 if suite.failures else 0)


if __name__ == "__main__":
    main()
