from tests.gateway.gateways import LiveGateway
from umad.gateway.bodies.native import GenerateBody
from umad.gateway.bodies.scorecard import ScorecardAnswer
from umad.gateway.dialects import ENDPOINTS
from umad.request import SAMPLING_FIELDS


def test_the_document_has_every_endpoint_and_every_reference_leads_somewhere(
    gateway: LiveGateway,
) -> None:
    with gateway.http() as http:
        document = http.get("/openapi.json").json()

    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert {(one.method, one.path.replace(":path", "")) for one in ENDPOINTS} == described
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.rpartition("/")[2] in schemas


def test_what_is_answered_is_described_where_it_is_json(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        document = http.get("/openapi.json").json()

    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert chat["200"]["content"].keys() == {"application/json", "text/event-stream"}
    shape = chat["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "choices" in document["components"]["schemas"][shape]["required"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            errors = [one for status, one in operation["responses"].items() if status != "200"]
            if path in ("/health", "/v1/health"):  # which says itself what is not ready
                errors.remove(operation["responses"]["503"])
            schemas = {str(one["content"]["application/json"]["schema"]) for one in errors}
            assert len(schemas) == 1, f"{path} has errors of more than one shape"


def test_every_figure_of_the_scorecard_is_described(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        http.post("/generate", json={"prompt": "a", "max_tokens": 8, "stream": False})
        document = http.get("/openapi.json").json()
        card = http.get("/metrics").json()
        loaded = http.post("/load", json={"model": "nano"}).json()

    schemas = document["components"]["schemas"]
    assert card.keys() == schemas["ScorecardAnswer"]["properties"].keys()
    assert card["models"]["nano"].keys() == schemas["Section"]["properties"].keys()
    ScorecardAnswer.model_validate(card, strict=True)
    assert schemas["LoadedAnswer"]["required"] == ["name"]
    assert loaded["name"] == "nano"


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [str(value["$ref"])] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in references(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in references(inner)]
    return []


def test_the_page_needs_nothing_from_outside(gateway: LiveGateway) -> None:
    with gateway.http() as http:
        page = http.get("/docs")

    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "/v1/chat/completions" in page.text
    assert "http" not in page.text.replace('"http', "").partition("<details>")[0].lower()


def test_http_takes_every_sampling_parameter() -> None:
    # `fit` is what a dialect says of itself, and `echo` with `logprobs` asks for the prompt's.
    assert set(SAMPLING_FIELDS) - set(GenerateBody.model_fields) == {"fit", "prompt_logprobs"}
