"""The commands of whoever runs the service; `api.commands` loads them when one is named."""

from typing import Annotated

import typer

from api import environment, identity_commands, operating

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8765,
) -> None:
    """Run the service here: database, files and workers included unless Redis is configured."""
    from api import serving  # a second, which no other command needs to wait

    settings = environment.read_settings()
    try:
        serving.check_address(host, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from error
    serving.check_free(host, port)
    serving.run(settings, host=host, port=port)


app.command()(operating.worker)
app.command()(operating.migrate)
app.command("doctor")(operating.check)
app.command()(operating.gc)
app.command()(operating.verify)
app.command()(operating.restored)
app.command("audit")(identity_commands.show_audit)
app.add_typer(identity_commands.of_projects, name="projects")
app.add_typer(identity_commands.of_keys, name="keys")
