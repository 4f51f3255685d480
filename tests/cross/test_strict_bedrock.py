"""The strict Bedrock is what Amazon's SDK takes it for, and what its description says."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError
from tests.fakes.strict.bedrock_converse import BedrockConverse
from tests.fakes.strict.scenarios import BERGEN, LOOP, OSLO, REPLIES, Reply
from tests.fakes.strict.server import StrictUpstream
from tests.fakes.strict.service_model import operation, problem
from tests.fakes.strict.wire import KEY, Asked

pytestmark = pytest.mark.process

ASKED: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "hi"}]}]


@pytest.fixture
def client(upstream: StrictUpstream) -> Any:
    """Amazon's SDK; it sends a bearer token over TLS only, so here a handler of ours adds it."""
    made = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-north-1",
        endpoint_url=f"{upstream.url}/bedrock",
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )
    made.meta.events.register(
        "before-call.bedrock-runtime",
        lambda params, **_: params["headers"].update(authorization=f"Bearer {KEY}"),
    )
    return made


def test_amazon_s_sdk_reads_its_whole_answers(client: Any) -> None:
    """Text and calls, as the SDK's users see them."""
    answer = client.converse(modelId="text", messages=ASKED)
    assert answer["output"]["message"]["content"] == [{"text": REPLIES["text"].text}]
    answer = client.converse(modelId="tools", messages=ASKED)
    calls = [block["toolUse"] for block in answer["output"]["message"]["content"]]
    assert [call["input"] for call in calls] == [OSLO.arguments, BERGEN.arguments]


def test_amazon_s_sdk_reads_its_frames(client: Any) -> None:
    """Each frame's checksums, headers and payload."""
    frames = list(client.converse_stream(modelId="text", messages=ASKED)["stream"])
    deltas = [f["contentBlockDelta"]["delta"] for f in frames if "contentBlockDelta" in f]
    assert "".join(delta["text"] for delta in deltas) == REPLIES["text"].text
    assert [next(iter(frame)) for frame in (frames[0], *frames[-2:])] == [
        "messageStart",
        "messageStop",
        "metadata",
    ]


def test_amazon_s_sdk_reads_its_refusals(client: Any) -> None:
    """As errors of the names that the API has."""
    with pytest.raises(ClientError) as limited:
        client.converse(modelId="limited", messages=ASKED)
    assert limited.value.response["Error"]["Code"] == "ThrottlingException"


@pytest.mark.parametrize("name", [*REPLIES, "called"])
def test_its_answers_are_as_described(name: str) -> None:
    """Nobody learns from it what the real API never sends."""
    reply: Reply = LOOP if name == "called" else REPLIES[name]
    wire, asked = BedrockConverse(), Asked(name, stream=True)
    assert (
        problem(wire.whole(reply, asked), operation("bedrock-runtime", "Converse").output_shape)
        is None
    )
    shape = operation("bedrock-runtime", "ConverseStream").output_shape.members["stream"]
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join((*wire.head(asked), *wire.content(reply), *wire.tail(reply, {}))))
    for frame in buffer:
        payload = json.loads(frame.payload)
        del payload["p"]  # padding, of no meaning
        assert problem({frame.headers[":event-type"]: payload}, shape) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"text": "a", "cachePoint": {}}]}]}, "union"),
        ({"messages": [{"role": "user"}]}, "field required"),
        ({"seed": 1}, "no such field"),
        ({"inferenceConfig": {"temperature": 1.5}}, "out of range"),
        ({"inferenceConfig": {"maxTokens": 10.5}}, "is no integer"),
        ({"toolConfig": {"tools": []}}, "too few"),
        ({"toolConfig": {"tools": [{"toolSpec": {"name": "a b", "inputSchema": {"json": {}}}}]}},
         "signs that are not allowed"),
        ({"messages": [{"role": "user", "content": [
            {"image": {"format": "png", "source": {"bytes": "no base64"}}}]}]}, "invalid base64"),
        ({"messages": [{"role": "user", "content": [
            {"image": {"format": "bmp", "source": {"bytes": "YQ=="}}}]}]}, "not allowed"),
    ],
)  # fmt: skip
def test_it_refuses_what_the_description_forbids(change: dict[str, Any], reason: str) -> None:
    """Shapes, ranges, signs, and members that a union has one of."""
    asked = Asked("text", stream=False)
    assert BedrockConverse().problem({"messages": ASKED}, asked) is None
    found = BedrockConverse().problem({"messages": ASKED, **change}, asked)
    assert found is not None
    assert reason in found
