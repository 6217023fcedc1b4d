"""The operator's page: one template and modules of JavaScript that run as they are, nothing from outside.

It speaks to the same endpoints as every client. Its token stays in the memory of the page.
"""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from service.model import Action, Dimension

FOLDER: Final = Path(__file__).parent
STATIC_PATH: Final = "/page"
RANGES: Final = {"hour": "1 hour", "day": "24 hours", "week": "7 days"}
EXPIRIES: Final = {3600: "1 hour", 14_400: "4 hours", 86_400: "1 day", 604_800: "7 days"}
_TEMPLATES: Final = Jinja2Templates(env=Environment(loader=FileSystemLoader(FOLDER), autoescape=True))
# Swagger UI, of which the readable page of the HTTP interface is made.
SWAGGER_PATH: Final = "/swagger"
SWAGGER: Final = StaticFiles(packages=[("swagger_ui", "static")])
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Modules(StaticFiles):
    """Files that a browser revalidates at each load, because modules of two releases do not fit together."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


STATIC: Final = _Modules(directory=FOLDER / "static")


async def page(request: Request) -> Response:
    keys = [Dimension.ISP, Dimension.CAMPAIGN, Dimension.ACCOUNT]
    context = {
        "static": STATIC_PATH.removeprefix("/"),
        "statuses": ("new", "proc", "retry", "hold"),
        "keys": keys,
        "titles": {key: key.upper() if key is Dimension.ISP else key.value for key in Dimension},
        "actions": list(Action),
        "ranges": RANGES,
        "expiries": EXPIRIES,
    }
    return _TEMPLATES.TemplateResponse(request, "index.html", context, headers=_HEADERS)


async def api_page(request: Request) -> Response:
    """A readable page of /openapi.json. Swagger UI writes style attributes and pictures as data."""
    policy = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    headers = _HEADERS | {"Content-Security-Policy": policy.replace("img-src 'self'", "img-src 'self' data:")}
    return _TEMPLATES.TemplateResponse(request, "api.html", headers=headers)
