"""Amazon Bedrock, by its Converse API."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.clouds import BedrockProvider
from tidegate.providers.spec import Quirks

PROVIDER = BedrockProvider(
    name="bedrock",
    title="Amazon Bedrock",
    base_url="https://bedrock-runtime.{region}.amazonaws.com",
    docs_url="https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html",
    checked_on="2026-12-01",
    checked_in="botocore 1.44.8",
    auth="sigv4",
    env_key="AWS_BEARER_TOKEN_BEDROCK",
    env_settings={"aws.region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    env_credentials={
        "aws.access_key_id": ("AWS_ACCESS_KEY_ID",),
        "aws.secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
        "aws.session_token": ("AWS_SESSION_TOKEN",),
    },
    own_hosts=("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu"),
    section="aws",
    discover=False,
    dialects=("bedrock",),
    quirks=Quirks(models_path="", wire=WireQuirks(thinking="budget")),
)
