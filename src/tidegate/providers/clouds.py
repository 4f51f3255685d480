"""Providers whose address depends on settings: Azure OpenAI, Amazon Bedrock, Google Vertex AI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from tidegate.config.placement import Placement
from tidegate.config.snapshot import ModelFamily
from tidegate.providers.operations import OPERATIONS, Paths
from tidegate.providers.spec import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureProvider(Provider):
    """Azure OpenAI: the v1 API by default, the dated one where `azure.api_version` is set.

    In the dated API a model is a deployment's name, and stands in the path.
    """

    @override
    def place(
        self,
        base_url: str | None,
        options: Mapping[str, str],
        dialects: Iterable[str] | None = None,
    ) -> Placement:
        """See `Provider.place`; a base URL that ends in `/openai/v1` is taken as what it says."""
        place = (base_url or "").removesuffix("/openai/v1").removesuffix("/openai")
        spoken = self.dialects if dialects is None else tuple(dialects)
        asked = self.operations(spoken)
        asked.pop("moderations", None)  # of OpenAI alone
        version = options.get("api_version")
        if version is None:
            operations = {
                name: (f"/openai/v1{whole}", f"/openai/v1{stream}")
                for name, (whole, stream) in asked.items()
            }
            return Placement(place, operations)
        operations = {}
        for name, (whole, _) in asked.items():
            # The deployment stands in the body there, or there is none.
            of_all = name in OPERATIONS["responses"] or name in ("files", "batches")
            path = f"/openai{whole}" if of_all else f"/openai/deployments/{{model}}{whole}"
            operations[name] = (f"{path}?api-version={version}",) * 2
        return Placement(place, operations)


#: Beginning of a region's name → domain of the part of Amazon's cloud that it is in.
_AWS_DOMAINS: Final = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockProvider(Provider):
    """Amazon Bedrock, one endpoint a region."""

    @override
    def place(
        self,
        base_url: str | None,
        options: Mapping[str, str],
        dialects: Iterable[str] | None = None,
    ) -> Placement:
        """See `Provider.place`."""
        if base_url is None:
            region = options.get("region")
            if region is None:
                raise ValueError("aws.region: is needed, such as eu-central-1; or set AWS_REGION")
            domain = next(
                (found for prefix, found in _AWS_DOMAINS.items() if region.startswith(prefix)),
                "amazonaws.com",
            )
            base_url = f"https://bedrock-runtime.{region}.{domain}"
        return Placement(base_url, self.operations(dialects))


def _vertex_origin(location: str) -> str:
    """Return where Vertex AI is: in a region, in one of two groups of regions, or anywhere."""
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    region = "" if location == "global" else f"{location}-"
    return f"https://{region}aiplatform.googleapis.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexProvider(Provider):
    """Google Vertex AI: Google's models, and Anthropic's in their own format.

    Models of embeddings have methods of their own, one for each line of models, told by the name.
    """

    @override
    def place(
        self,
        base_url: str | None,
        options: Mapping[str, str],
        dialects: Iterable[str] | None = None,
    ) -> Placement:
        """See `Provider.place`."""
        for name in ("location", "project"):
            if name not in options:
                variable = f"GOOGLE_CLOUD_{name.upper()}"
                raise ValueError(f"google.{name}: is needed; or set {variable}")
        location, project = options["location"], options["project"]
        if base_url is None:
            base_url = _vertex_origin(location)
        home = f"/v1/projects/{project}/locations/{location}/publishers"
        google = {
            name: (f"{home}/google{whole}", f"{home}/google{stream}")
            for name, (whole, stream) in self.operations(dialects).items()
        }
        for name in ("gemini_embed", "gemini_batch_embed"):  # of the Gemini API alone
            google.pop(name, None)
        anthropic = f"{home}/anthropic/models"
        claude: dict[str, Paths] = {
            "anthropic": (
                f"{anthropic}/{{model}}:rawPredict",
                f"{anthropic}/{{model}}:streamRawPredict",
            ),
            # One path for all models: the model stands in the body.
            "anthropic_count_tokens": (f"{anthropic}/count-tokens:rawPredict",) * 2,
        }
        predict: dict[str, Paths] = {
            "vertex_predict": (f"{home}/google/models/{{model}}:predict",) * 2
        }
        beta = home.replace("/v1/", "/v1beta1/", 1)
        embed: dict[str, Paths] = {
            "vertex_batch_embed": (f"{beta}/google/models/{{model}}:batchEmbedContents",) * 2
        }
        families = (
            ModelFamily("claude-", claude, "vertex-anthropic"),
            ModelFamily("text-embedding-", predict),
            ModelFamily("text-multilingual-embedding-", predict),
            ModelFamily("gemini-embedding-", embed),
        )
        return Placement(base_url, google, families)
