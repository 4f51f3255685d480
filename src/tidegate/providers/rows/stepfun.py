"""StepFun.

Accounts outside China: `base_url: https://api.stepfun.ai/v1`.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="stepfun",
    title="StepFun",
    base_url="https://api.stepfun.com/v1",
    docs_url="https://platform.stepfun.com/docs",
    env_key="STEPFUN_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
