"""The pages for people: the OpenAPI document, a page that shows it, and administration when there is a token."""

import html
import json
from collections.abc import Callable, Mapping

import orjson

from serve.asgi import FromAsgi
from serve.http import ANY, GET, Route
from serve.http_protocol import Answer, HttpRequest, Respond
from serve.service import Service
from taxiway import __version__
from taxiway.inference import ModelInterface
from taxiway.json_values import DATATYPE
from taxiway.openapi import document, example_inference
from taxiway.signature import Column

_HTML = ((b"content-type", b"text/html; charset=utf-8"),)


def people_routes(service: Service, admin: FromAsgi | None) -> Mapping[str, Route]:
    """Routes by their path; one that ends with a slash is also that of every path below."""
    routes = {
        "/openapi.json": Route(GET, _page(service, _openapi)),
        "/docs": Route(GET, _page(service, _docs)),
    }
    return routes | ({"/admin/": Route(ANY, admin)} if admin is not None else {})


def _page(service: Service, make: Callable[[list[ModelInterface]], Answer]) -> Callable[[HttpRequest, Respond], None]:
    def answer(_: HttpRequest, respond: Respond) -> None:
        loaded = service.others.loaded() if service.others is not None else ()
        respond(make([endpoint.baseline.interface for endpoint in (*service.endpoints.values(), *loaded)]))

    return answer


def _openapi(models: list[ModelInterface]) -> Answer:
    return Answer(200, orjson.dumps(document(models, __version__), option=orjson.OPT_INDENT_2))


def _docs(models: list[ModelInterface]) -> Answer:
    """One page without scripts or anything from elsewhere: it works in a closed network."""
    body = "".join(_model(model) for model in models)
    return Answer(200, _PAGE.format(version=html.escape(__version__), models=body).encode(), _HTML)


def _model(model: ModelInterface) -> str:
    name = html.escape(model.name)
    body = json.dumps(example_inference(model), indent=2)
    return (
        f"<h2 id='{name}'>{name} "
        f"<small>version {html.escape(model.version)}, {html.escape(model.platform)}</small></h2>"
        f"<table><tr><th>input<th>type<th>shape<th>required<th>values</tr>"
        f"{''.join(_column(column) for column in model.inputs.values())}</table>"
        f"<table><tr><th>output<th>type<th>shape<th><th></tr>"
        f"{''.join(_column(column, '') for column in model.outputs)}</table>"
        f"<pre>curl -s $SERVER/v2/models/{name}/infer -d '{html.escape(body)}'</pre>"
        f"<p>Also: <code>/v1/models/{name}:predict</code>, <code>/models/{name}/invocations</code>, "
        f"<code>/predictions/{name}</code>.</p>"
    )


def _column(column: Column, required: str | None = None) -> str:
    shown = required if required is not None else "yes" if column.is_required else "no"
    shape = ["n", *("any" if size < 0 else str(size) for size in column.shape)]
    return (
        f"<tr><td><code>{html.escape(column.name)}</code><td>{column.dtype} ({DATATYPE[column.dtype]})"
        f"<td>[{', '.join(shape)}]<td>{shown}<td>{html.escape(_values(column))}</tr>"
    )


def _values(column: Column) -> str:
    if column.categories is not None:
        return ", ".join(column.categories[:12]) + (", …" if len(column.categories) > 12 else "")
    bounds = [f"from {column.minimum:g}" if column.minimum is not None else ""]
    bounds.append(f"to {column.maximum:g}" if column.maximum is not None else "")
    bounds.append("may be missing" if column.nullable else "")
    return " ".join(bound for bound in bounds if bound)


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Taxiway</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }}
small {{ color: #667; font-weight: normal; font-size: 0.7em; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; }}
th, td {{ text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #dde3ea; }}
td {{ vertical-align: top; }}
pre {{ background: #f4f6f9; padding: 1rem; overflow-x: auto; font-size: 0.85em; border-radius: 4px; }}
</style>
<h1>Taxiway <small>{version}</small></h1>
<p>Every path and schema: <a href="/openapi.json">openapi.json</a>.
What is served now: <a href="/-/status">status</a>.</p>
{models}</html>
"""
