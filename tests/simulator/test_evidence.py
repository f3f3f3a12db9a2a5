"""Evidence and every refusal of it."""

from base64 import b64decode

import pytest

from .harness import LONG, Answer, Bench

NONCE = "0123456789abcdef" * 4


def evidence(bench: Bench, name: str, nonce: str | None = NONCE) -> Answer:
    query = "" if nonce is None else f"?nonce={nonce}"
    return bench.call("GET", f"/chutes/{name}/evidence{query}")


def test_a_tee_chute_gives_evidence_by_name_and_by_id() -> None:
    bench = Bench()
    by_name = evidence(bench, "sim/Alpha-70B-TEE")
    by_id = evidence(bench, bench.row("sim/Alpha-70B-TEE")["chute_id"])
    assert by_name.status == 200
    assert by_name.json == by_id.json
    assert set(by_name.json) == {"evidence", "failed_instance_ids"}
    for instance in by_name.json["evidence"]:
        assert set(instance) == {"quote", "gpu_evidence", "instance_id", "certificate"}
        assert set(instance["gpu_evidence"][0]) == {"arch", "certificate", "evidence"}


def test_the_quote_has_the_shape_of_a_tdx_quote_and_holds_the_nonce() -> None:
    instance = evidence(Bench(), "sim/Alpha-70B-TEE").json["evidence"][0]
    quote = b64decode(instance["quote"], validate=True)
    assert int.from_bytes(quote[:2], "little") == 4
    assert int.from_bytes(quote[4:8], "little") == 0x81
    assert quote[48 + 520 :][32:64].hex() == NONCE
    assert int.from_bytes(quote[632:636], "little") == len(quote) - 636


def test_evidence_weighs_about_as_much_as_the_real_thing() -> None:
    answer = evidence(Bench(), "sim/Alpha-70B-TEE")
    each = len(answer.body) / len(answer.json["evidence"])
    assert each == pytest.approx(100_000, rel=0.1)


def test_a_missing_nonce_is_a_validation_error() -> None:
    answer = evidence(Bench(), "sim/Alpha-70B-TEE", None)
    assert answer.status == 422
    assert answer.body == (
        b'{"detail":[{"type":"missing","loc":["query","nonce"],"msg":"Field required",'
        b'"input":null}]}'
    )


@pytest.mark.parametrize(
    ("name", "nonce", "status", "detail"),
    [
        (
            "sim/Alpha-70B-TEE",
            "abcde",
            400,
            "Nonce must be exactly 64 hex characters (32 bytes), got 5",
        ),
        (
            "sim/Alpha-70B-TEE",
            "",
            400,
            "Nonce must be exactly 64 hex characters (32 bytes), got 0",
        ),
        ("sim/Alpha-70B-TEE", "z" * 64, 400, "Nonce must be a valid hexadecimal string"),
        (
            "sim/Epsilon-235B-TEE",
            NONCE,
            400,
            "Instances requires chutes_version >= 0.6.0 to retrieve evidence.",
        ),
        ("sim/Nobody", NONCE, 404, "Chute not found"),
        ("[private%20chute]", NONCE, 404, "Chute not found"),
    ],
)
def test_refusals_have_the_platforms_words(name: str, nonce: str, status: int, detail: str) -> None:
    answer = evidence(Bench(), name, nonce)
    assert (answer.status, answer.json) == (status, {"detail": detail})


@pytest.mark.parametrize("name", ["sim/Gamma-32B", "sim-image-turbo", "sim%2Fspeech-tts"])
def test_a_chute_without_tee_is_named_by_its_id(name: str) -> None:
    bench = Bench()
    chute_id = bench.row(name.replace("%2F", "/"))["chute_id"]
    answer = evidence(bench, name)
    assert (answer.status, answer.json) == (
        400,
        {"detail": f"Chute {chute_id} is not TEE-enabled"},
    )


def test_a_private_chute_is_not_found_by_its_id_either() -> None:
    bench = Bench()
    private = next(row for row in bench.feed() if row["name"] == "[private chute]")
    assert evidence(bench, private["chute_id"]).status == 404


def test_all_callers_share_sixty_calls_a_minute() -> None:
    bench = Bench()
    statuses = [evidence(bench, "sim/Alpha-70B-TEE").status for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    limited = evidence(bench, "sim/Gamma-32B")
    assert limited.json == {"detail": "Rate limit exceeded. Try again later."}
    bench.tick(LONG + 1)
    assert evidence(bench, "sim/Alpha-70B-TEE").status == 200


def test_an_edge_fault_takes_the_attestation_service_down() -> None:
    bench = Bench()
    bench.call("PUT", "/_simulator/faults/sim/Alpha-70B-TEE", b'{"fault":"html-502","times":1}')
    answer = evidence(bench, "sim/Alpha-70B-TEE")
    assert answer.status == 502
    assert answer.json["detail"].startswith("Attestation service unavailable. ")
    assert bench.complete("sim/Alpha-70B-TEE").status == 502
    assert evidence(bench, "sim/Alpha-70B-TEE").status == 200
