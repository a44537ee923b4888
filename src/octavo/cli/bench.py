"""`octavo bench`: names its own subcommands, as main.py names octavo's."""

from cyclopts import App

COMMANDS = {
    "serve": ("bench_serve:serve", "Measure a server from its clients' side."),
    "peers": ("bench_peers:peers", "Measure other engines beside this one."),
    "offline": ("bench_offline:offline", "Measure the engine alone, in this process."),
}

bench = App(name="bench", usage="octavo bench COMMAND", result_action="return_value")
for index, (name, (place, text)) in enumerate(COMMANDS.items()):
    bench.command(f"octavo.cli.{place}", name=name, help=text, sort_key=index)
