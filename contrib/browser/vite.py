"""vite: a small page with a module that is edited, served by Vite as on any developer's machine."""
import json
import os
import shutil
import signal
import subprocess

from chromium import Failed
from harness import Program, can_connect, free_port
from wire import eventually

# Runs with Node 18, 20 and from 22 on: Debian's and newer ones.
VERSION = "6.4.6"
MANY = 200
INSTALL = 180.0
START = 30.0

INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Through the tunnel</title><link rel="icon" href="data:,">
<style>body { font: 1.3em/1.5 sans-serif; max-width: 30em; margin: 3em auto }</style>
<h1>Vite, through the tunnel</h1>
<p id="text"></p>
<p>This page has seen: <ol id="seen"></ol>
<script type="module" src="/src/main.js"></script>
"""
MAIN = """import { text } from './text.js'

const show = (now) => {
  document.getElementById('text').textContent = now
  document.getElementById('seen').insertAdjacentHTML('beforeend', `<li>${now}</li>`)
}
show(text)
import.meta.hot.accept('./text.js', (changed) => show(changed.text))
"""
MANY_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Many files</title><link rel="icon" href="data:,">
<p id="sum"></p>
<script type="module" src="/src/many.js"></script>
"""


class Vite:
    """The project in `folder`, and its development server once started."""

    def __init__(self, folder):
        self.folder, self.port, self.program, self.output = folder, free_port(), None, None
        (folder / "src" / "many").mkdir(parents=True)
        self.write("package.json", json.dumps({"private": True, "type": "module", "dependencies": {"vite": VERSION}}))
        self.write("index.html", INDEX)
        self.write("src/main.js", MAIN)
        self.edit("the first text")
        self.write("many.html", MANY_HTML)
        numbers = range(1, MANY + 1)
        for n in numbers:
            self.write(f"src/many/{n}.js", f"export default {n}\n")
        self.write("src/many.js", "".join(f"import n{n} from './many/{n}.js'\n" for n in numbers)
                   + f"document.getElementById('sum').textContent = {' + '.join(f'n{n}' for n in numbers)}\n")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def edit(self, text):
        """What a developer does: changes the module's file."""
        self.write("src/text.js", f"export const text = {json.dumps(text)}\n")

    def install(self):
        """npm with the caller's own settings."""
        with open(self.folder / "npm.log", "wb") as log:
            try:
                done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
                                      cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      timeout=INSTALL)
            except subprocess.TimeoutExpired:
                raise Failed(f"npm install had not ended after {INSTALL:g} s") from None
        if done.returncode:
            raise Failed(f"npm install ended with {done.returncode}")

    def start(self):
        node = shutil.which("node") or shutil.which("nodejs")
        self.output = open(self.folder / "vite.out", "wb")
        self.program = Program([node, "node_modules/vite/bin/vite.js", "--host", "127.0.0.1", "--port", self.port,
                                "--strictPort", "--clearScreen", "false"], self.folder, "vite", stdout=self.output)
        eventually(lambda: can_connect(self.port) or not self.program.alive(), "vite listens", START)
        if not self.program.alive():
            raise Failed("vite ended: " + " ".join(self.program.lines[-3:]))

    def stop(self):
        """Its esbuild is in its process group."""
        if self.program:
            try:
                os.killpg(self.program.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.program.process.wait(5)
            self.output.close()
