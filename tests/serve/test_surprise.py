"""How surprising a language model finds what a shopper did."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy

from behavior_tasks.base.tables import connect
from behavior_tasks.model.backbones import hidden_states
from behavior_tasks.model.surprise import SurpriseReader, reads_causally
from behavior_tasks.serve.asked import write_asked
from behavior_tasks.text.encode import encode_texts
from behavior_tasks.text.parts import join_parts
from behavior_tasks.text.phrases import Told, tell_phrases
from tests.serve.world import ServedShop


def _told(shop: ServedShop, *, days: int) -> list[Told]:
    text, cutoff = shop.champion("shopper").text, shop.moment.cutoff
    assert text is not None
    found: list[Told] = []
    for bucket in shop.events:
        with connect() as connection:
            bucket.create_view(connection, "own")
            since = f"timestamp >= TIMESTAMP '{cutoff - timedelta(days=days)}' AND timestamp < TIMESTAMP '{cutoff}'"
            active = connection.execute(f"SELECT DISTINCT shopper FROM own WHERE {since} ORDER BY ALL").fetchall()
            found += tell_phrases(connection, bucket, cutoff, text, shoppers=[shopper for (shopper,) in active])
    return found


def test_pieces_are_the_beginning_of_the_champions_own_texts(shop: ServedShop, tmp_path: Path) -> None:
    champion = shop.champion("shopper")
    assert champion.text is not None
    asked = write_asked(champion, shop.events, shop.moment, tmp_path / "asked", engine=shop.config.engine)
    whole = {}
    for bucket in asked:
        assert bucket.texts is not None
        table = pq.read_table(bucket.texts)
        texts = map(join_parts, table["parts"].to_pylist())
        whole |= dict(zip(table["shopper"].to_pylist(), texts, strict=True))
    pieces = {
        shopper: own
        for told in _told(shop, days=champion.examples.lookback_days)
        for shopper, own in zip(told.shoppers, told.pieces, strict=True)
    }
    assert set(pieces) == set(whole)
    for shopper, own in pieces.items():
        text = "".join(own)
        assert whole[shopper].startswith(text)
        assert whole[shopper][len(text) :].startswith("[now]")
        assert len(own) <= 1 + champion.text.last_events
    assert any(own[0].startswith("[older]") for own in pieces.values())


def test_only_those_asked_for_are_told_and_phrases_know_when_they_began(shop: ServedShop) -> None:
    since = (shop.moment.cutoff - timedelta(days=2) - datetime(1970, 1, 1)).total_seconds() * 1e6
    some, everybody = _told(shop, days=2), _told(shop, days=90)
    assert 0 < sum(len(told.shoppers) for told in some) < sum(len(told.shoppers) for told in everybody)
    for told in some:
        last = np.cumsum([len(own) - 1 for own in told.pieces]) - 1
        begins = np.append(0, last[:-1] + 1)
        assert len(told.begun) == last[-1] + 1
        assert all((np.diff(told.begun[a : b + 1]) > 0).all() for a, b in zip(begins, last, strict=True))
        # A phrase may have begun before; its shopper was there since.
        assert (told.begun[last] >= since - 86_400e6).all()


def test_surprise_is_the_cross_entropy_of_each_pieces_tokens(shop: ServedShop) -> None:
    folder = shop.champion("shopper").model
    assert reads_causally(folder)
    reader = SurpriseReader.load(folder, device="cpu", threads=1)
    texts = [own for told in _told(shop, days=7) for own in told.pieces][:40]
    counts = [len(own) for own in texts]
    first = np.append(0, np.cumsum(counts))
    asked = np.random.default_rng(0).random(first[-1]) < 0.7
    found = reader.read(texts, asked)
    assert (found.tokens[~asked] == 0).all()
    assert (found.variance >= 0).all()

    cut = 0
    for own, begin in zip(texts, first, strict=False):
        tokens, _ = encode_texts(folder / "tokenizer", ["".join(own)], reader.max_tokens)
        every, _ = encode_texts(folder / "tokenizer", ["".join(own)], 10_000)
        cut += len(every) > len(tokens)
        with torch.inference_mode():
            ids = torch.from_numpy(tokens.astype(np.int64))[None]
            hidden = hidden_states(reader.model.backbone, ids, torch.tensor([len(tokens)]))
            logits = reader.model.next_token_logits(hidden[0, :-1])
            nats = cross_entropy(logits, ids[0, 1:], reduction="none")
            entropy = torch.distributions.Categorical(logits=logits).entropy()
        # A piece by itself has as many tokens as in the text: pieces end where words do.
        sizes = [len(encode_texts(folder / "tokenizer", [piece], 10_000)[0]) for piece in own]
        assert sum(sizes) == len(every)
        owner = np.repeat(np.arange(len(own)), sizes)[len(every) - len(tokens) :][1:]
        for place in range(len(own)):
            if asked[begin + place]:
                of = owner == place
                assert found.tokens[begin + place] == of.sum()
                assert found.nats[begin + place] == pytest.approx(float(nats[of].sum()), abs=1e-3)
                assert found.expected[begin + place] == pytest.approx(float(entropy[of].sum()), abs=1e-3)
    assert cut > 0
