"""`headstart webhooks`: who is told of events, how that went, and once more."""

import time
from itertools import islice
from typing import Annotated

import typer

import headstart
from api import terminal
from core.domain.webhooks import DeliveryState, EventType
from headstart.problems import Problem
from headstart.schema import DeliveryView, NewSecretView, WebhookView, WholeDeliveryView

app = typer.Typer(
    name="webhooks",
    help="URLs that the events of a project are sent to, and what became of each message.",
    no_args_is_help=True,
)

PATIENCE = 15.0  # seconds for an attempt, which the service gives ten
LOOKS = 0.25  # seconds between two looks at it

Hook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, or how that begins.")]
Message = Annotated[str, typer.Argument(metavar="DELIVERY", help="As `deliveries` lists it.")]
Events = Annotated[
    list[EventType] | None, typer.Option("--event", help="What to tell of; once for each.")
]
Description = Annotated[str | None, typer.Option(help="What it is for, to know it again.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")]


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """Show the project's webhooks, without what is secret of them."""
    with terminal.server() as client:
        found = list(client.webhooks.list())
    if as_json:
        terminal.show_json({"items": found})
        return
    headings = ("webhook", "URL", "events", "state", "description")
    terminal.show_table(headings, [_row(each) for each in found])


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where to send them: https://…")],
    event: Events = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Have a URL told of events, and print the secret that signs them, this once."""
    if not event:
        known = ", ".join(EventType)
        raise typer.BadParameter(f"give one or more of {known}", param_hint="--event")
    with terminal.server() as client:
        told = terminal.given(description=description)
        made = client.webhooks.create(url=url, events=[each.value for each in event], **told)
    _show_secret(made, as_json)


@app.command()
def update(
    webhook: Hook,
    url: Annotated[str | None, typer.Option(help="Where to send them from now on.")] = None,
    event: Events = None,
    description: Description = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether anything is sent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a webhook; disabling one cancels what waits for it."""
    events = [each.value for each in event] if event else None
    changes = terminal.given(url=url, events=events, description=description, enabled=enabled)
    if not changes:
        raise typer.BadParameter("say what to change", param_hint="--url, --event, --enable, …")
    with terminal.server() as client:
        made = client.webhooks.update(_id(client, webhook), **changes)
    if as_json:
        terminal.show_json(made)
    else:
        terminal.show_table(("webhook", "URL", "events", "state", "description"), [_row(made)])


@app.command()
def delete(
    webhook: Hook,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a URL nothing any more, and forget what it was told."""
    if as_json and not yes:
        raise typer.BadParameter("nobody is asked with --json: give --yes", param_hint="--json")
    with terminal.server() as client:
        found = client.webhooks.get(_id(client, webhook))
        if not yes and not typer.confirm(f"Delete the webhook of {found['url']}?"):
            raise typer.Exit(1)
        client.webhooks.delete(found["id"])
    if as_json:
        terminal.show_json({"deleted": found["id"]})
    else:
        terminal.out.print("deleted")


@app.command()
def rotate(webhook: Hook, as_json: AsJson = False) -> None:
    """Print a new secret, this once; for 24 hours messages are signed with the old one, too."""
    with terminal.server() as client:
        made = client.webhooks.rotate(_id(client, webhook))
    _show_secret(made, as_json)


@app.command("test")
def send_test(webhook: Hook, as_json: AsJson = False) -> None:
    """Send `webhook.test` and say what came of it; exit status 1 if it did not arrive."""
    with terminal.server() as client:
        sent = client.webhooks.test(_id(client, webhook))
        _show_outcome(client, sent, as_json)


@app.command()
def redeliver(webhook: Hook, delivery: Message, as_json: AsJson = False) -> None:
    """Send a message once more, under the id it had; exit status 1 if it did not arrive."""
    with terminal.server() as client:
        hook = _id(client, webhook)
        sent = client.webhooks.redeliver(hook, delivery)
        _show_outcome(client, sent, as_json)


@app.command()
def deliveries(
    webhook: Hook,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what was sent or is to be, the latest first, and how that went."""
    query = terminal.given(state=None if state is None else state.value)
    with terminal.server() as client:
        found = list(islice(client.webhooks.deliveries(_id(client, webhook), **query), limit))
    if as_json:
        terminal.show_json({"items": found})
        return
    rows = [
        (each["id"], each["event"], each["state"], len(each["attempts"]), _last(each))
        for each in found
    ]
    terminal.show_table(("delivery", "event", "state", "attempts", "the last"), rows)


def _id(client: headstart.Client, text: str) -> str:
    """The id of the one webhook whose id begins so. Raises Problem."""
    found = [each["id"] for each in client.webhooks.list() if each["id"].startswith(text.lower())]
    if len(found) != 1:
        many = f"{len(found)} webhooks begin with {text}" if found else f"No webhook is {text}"
        raise Problem(f"{many}: `headstart webhooks list` shows them.", code="not_found")
    return found[0]


def _show_secret(made: NewSecretView, as_json: bool) -> None:
    if as_json:
        terminal.show_json(made)
        return
    words = f"Webhook {made['id']} tells {made['url']}. Keep its secret: it is not shown again."
    terminal.err.print(words, markup=False)
    terminal.out.print(made["secret"], markup=False)


def _show_outcome(client: headstart.Client, found: WholeDeliveryView, as_json: bool) -> None:
    """Wait until something has come of it. Raises Exit unless it arrived."""
    end = time.monotonic() + PATIENCE
    while not found["attempts"] and found["state"] == "pending" and time.monotonic() < end:
        time.sleep(LOOKS)
        found = client.webhooks.delivery(found["webhook_id"], found["id"])
    if as_json:
        terminal.show_json(found)
    else:
        terminal.out.print(f"{found['state']}: {_last(found)}", markup=False)
        terminal.out.print(f"delivery {found['id']}", markup=False)
    if found["state"] != "delivered":
        raise typer.Exit(1)


def _last(delivery: DeliveryView | WholeDeliveryView) -> str:
    """What came of its last attempt."""
    if not delivery["attempts"]:
        return "not sent yet"
    last = delivery["attempts"][-1]
    parts = (last["fault"], last["status"], f"in {last['seconds']:.1f} s")
    return " ".join(str(each) for each in parts if each is not None)


def _row(webhook: WebhookView) -> tuple[str, ...]:
    off = webhook["disabled_reason"] or "disabled"
    state = "on" if webhook["enabled"] else f"off ({off})"
    events = " ".join(webhook["events"])
    return (webhook["id"], webhook["url"], events, state, webhook["description"])
