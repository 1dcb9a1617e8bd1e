"""`consilium cds`: what somebody needs who connects a record system to our hooks, or watches over them.

Each command is a function in a module of its own; here they only get their names.
"""

import typer

from consilium.commands import cds_call, cds_conformance, cds_doctor, cds_feedback, cds_keys, cds_record

app = typer.Typer(no_args_is_help=True, help="Call, check and watch CDS Hooks services.")


@app.callback()
def cds() -> None:
    """Call, check and watch CDS Hooks services."""


app.command("call")(cds_call.call)
app.command("keys")(cds_keys.keys)
app.command("conformance")(cds_conformance.conformance)
app.command("doctor")(cds_doctor.doctor)
app.command("feedback")(cds_feedback.feedback)
app.command("outcomes")(cds_feedback.outcomes)
app.command("record")(cds_record.record)
app.command("replay")(cds_record.replay)
