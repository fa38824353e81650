"""What a model may do: HTTP requests, a transfer or a hang-up, declared in YAML (LLM_TOOLS) and checked when read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog

from trunkline.agent.brains.brain import Action, HangUp, Transfer
from trunkline.agent.brains.chat_stream import ToolCall
from trunkline.agent.brains.flow_file import NUMBER
from trunkline.agent.brains.flow_run import fill_body
from trunkline.agent.brains.http_call import HttpRequest, call_http, find
from trunkline.agent.brains.http_file import HttpTemplate, read_http_request
from trunkline.agent.brains.template import NAME, Template, TemplateError, clean
from trunkline.agent.brains.yaml_reader import Reader, read_yaml

log = structlog.get_logger()

MAX_TOOLS = 32
MAX_RESULT_CHARS = 8_000
TYPES = ("string", "number", "integer", "boolean")

_TOOL = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that the model gives."""

    type: str
    description: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that the model may call: a request, or an action.

    Args:
        name: Its name for the model.
        description: When and for what to call it.
        parameters: What the model gives.
        http: The request; None for an action.
        result: Path of what the model is told, in the answer's JSON; empty: all of it.
        action: What is done once the answer was heard; None for a request.
    """

    name: str
    description: str
    parameters: dict[str, Parameter]
    http: HttpTemplate | None = None
    result: str = ""
    action: Action | None = None

    def as_schema(self) -> dict[str, Any]:
        """The tool as the model is told of it."""
        properties = {
            name: {"type": each.type, "description": each.description} for name, each in self.parameters.items()
        }
        required = [name for name, each in self.parameters.items() if each.required]
        parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


class Toolbox:
    """All tools of a model.

    Args:
        tools: By name.
        http: Sends their requests.
    """

    def __init__(self, tools: dict[str, Tool], http: httpx.AsyncClient) -> None:
        self._tools = tools
        self._http = http

    def as_schemas(self) -> list[dict[str, Any]]:
        """The tools as the model is told of them."""
        return [tool.as_schema() for tool in self._tools.values()]

    async def run(self, call: ToolCall) -> tuple[str, Action | None]:
        """Does what the model asks for. Whatever goes wrong is told to the model.

        Returns:
            What the model is told; and what is to be done with the call.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            return "error: there is no such tool", None
        try:
            given = json.loads(call.arguments or "{}")
            values = {name: clean(given[name]) for name in tool.parameters if given.get(name) is not None}
        except (ValueError, AttributeError, TypeError, RecursionError):
            return "error: the arguments are no JSON object", None
        if missing := [name for name, each in tool.parameters.items() if each.required and name not in values]:
            return f"error: {missing[0]} is missing", None
        if tool.action is not None or tool.http is None:
            return "done", tool.action
        return await self._request(tool, tool.http, values), None

    async def _request(self, tool: Tool, http: HttpTemplate, values: dict[str, str]) -> str:
        answer = await call_http(
            self._http,
            HttpRequest(
                http.method,
                http.url.fill_url(values),
                {name: template.fill(values) for name, template in http.headers},
                fill_body(http.body, values),
                http.timeout_s,
            ),
        )
        log.info("tool_asked", tool=tool.name, status=answer.status, problem=answer.problem)
        if answer.problem:
            return f"error: {answer.problem}"
        try:
            found = find(answer.body, tool.result) if tool.result else answer.body
        except LookupError:
            return "error: nothing was found"
        return (found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))[:MAX_RESULT_CHARS]


def load_tools(path: Path) -> dict[str, Tool]:
    """Reads and checks tools. Raises ConfigError with file and line."""
    fields = read_yaml(path, "tools").fields(("allow", "tools"), ("tools",))
    hosts = [each.text().lower() for each in fields["allow"].items("host")] if "allow" in fields else []
    listed = fields["tools"].items("tool")
    if len(listed) > MAX_TOOLS:
        fields["tools"].fail(f"tools: more than {MAX_TOOLS}")
    tools: dict[str, Tool] = {}
    for each in listed:
        tool = _tool(each, hosts)
        if tool.name in tools:
            each.fail(f"the tool {tool.name!r} stands there twice")
        tools[tool.name] = tool
    return tools


def _tool(value: Reader, hosts: list[str]) -> Tool:
    fields = value.fields(
        ("name", "description", "parameters", "http", "result", "transfer", "hangup"), ("name", "description")
    )
    name = fields["name"].text(64)
    if not _TOOL.fullmatch(name):
        fields["name"].fail(f"name: {name!r} can't be a tool's name", "letters, digits, _ and -")
    given = fields["parameters"].pairs() if "parameters" in fields else {}
    parameters = {each: _parameter(each, reader) for each, reader in given.items()}
    if sum(each in fields for each in ("http", "transfer", "hangup")) != 1:
        value.fail(f"tool {name!r}: expected one of http, transfer, hangup")
    action: Action | None = None
    if "transfer" in fields:
        number = fields["transfer"].text()
        if not NUMBER.fullmatch(number):
            fields["transfer"].fail(f"transfer: expected a number such as +15550100, found {number!r}")
        action = Transfer(number)
    elif "hangup" in fields:
        if not fields["hangup"].flag():
            fields["hangup"].fail("hangup: expected true")
        action = HangUp()
    http = _http(fields["http"], hosts, set(parameters)) if "http" in fields else None
    result = HttpTemplate.checked_path(fields["result"]) if "result" in fields else ""
    return Tool(name, fields["description"].text(), parameters, http, result, action)


def _parameter(name: str, value: Reader) -> Parameter:
    if not NAME.fullmatch(name):
        value.fail(f"{name!r} can't be a parameter's name", "a to z, 0 to 9 and _, beginning with a letter")
    fields = value.fields(("type", "description", "required"), ("type",))
    kind = fields["type"].text()
    if kind not in TYPES:
        fields["type"].fail(f"type: expected one of {', '.join(TYPES)}, found {kind!r}")
    return Parameter(
        kind,
        fields["description"].text() if "description" in fields else "",
        fields["required"].flag() if "required" in fields else True,
    )


def _http(value: Reader, hosts: list[str], parameters: set[str]) -> HttpTemplate:
    def template(text: Reader) -> Template:
        try:
            read = Template(text.text())
        except TemplateError as error:
            text.fail(f"{text.what}: {error}")
        for name in read.names():
            if name not in parameters:
                text.fail(f"{text.what}: there is no parameter {name!r}", f"known: {', '.join(sorted(parameters))}")
        return read

    fields = value.fields(("method", "url", "headers", "json", "timeout"), ("url",))
    return read_http_request(fields, hosts, template)
