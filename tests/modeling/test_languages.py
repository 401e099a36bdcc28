"""Words of any language: which language a text is in, which of its tokens weigh 2, what is said where a library lacks.

Run with `python -m pytest tests/modeling/test_languages.py`.
"""

import importlib
import math
from itertools import pairwise

import pytest
from dual_encoders import make_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from dmae.modeling import DmaeProcessor, DmaeVideoProcessor, languages
from dmae.modeling.languages import detect_language
from dmae.modeling.word_weighting import TokenFrequencies, content_spans

# By script: a text, its language, and its words that carry content.
TEXTS = {
    "Latin": ("A dog runs over the green grass", "en", ["dog", "runs", "green", "grass"]),
    "Latin, German": ("Ein Hund läuft über das Gras", "de", ["Hund", "läuft", "Gras"]),
    "Latin, Spanish": ("un perro corre por la hierba", "es", ["perro", "corre", "hierba"]),
    "Cyrillic": ("собака бежит по зелёной траве", "ru", ["собака", "бежит", "зелёной", "траве"]),
    "Greek": ("ένας σκύλος τρέχει στο γρασίδι", "el", ["σκύλος", "τρέχει", "γρασίδι"]),
    "Arabic": ("كلب يركض على العشب", "ar", ["كلب", "يركض", "العشب"]),
    "Arabic, Persian": ("سگی روی چمن می‌دود", "fa", ["سگی", "چمن", "می‌دود"]),
    "Devanagari": ("कुत्ता घास पर दौड़ रहा है", "hi", ["कुत्ता", "घास", "दौड़"]),
    "Hangul": ("개가 잔디 위를 달린다", "ko", ["개가", "잔디", "위를", "달린다"]),
    "Han": ("一只狗在草地上跑", "zh", ["一只", "狗", "草地", "跑"]),
    "Kana": ("犬が芝生の上を走っている", "ja", ["犬", "芝生", "上", "走っ"]),
    "Thai": ("สุนัขตัวหนึ่งวิ่งในสวน", "th", ["สุนัข", "ตัว", "วิ่ง", "สวน"]),
}
LIBRARIES = {"zh": "jieba", "ja": "janome", "th": "pythainlp"}


def need(language: str) -> None:
    for library in ("stopwordsiso", LIBRARIES.get(language)):
        if library and language != "en":
            pytest.importorskip(library)


@pytest.mark.parametrize("script", TEXTS)
def test_the_tokens_of_content_words_weigh_two(script):
    text, language, content = TEXTS[script]
    need(language)
    assert detect_language(text) == language
    processor = DmaeProcessor(DmaeVideoProcessor(), make_tokenizer("metaclip_2"), max_words=99)
    batch, tokenized = processor(text=[text]), processor.tokenize([text])[0]
    heavy = {at for start, stop in content_places(text, content) for at in range(start, stop)}
    # A token begins at the space before its word.
    expected = [2.0 if any(at in heavy for at in range(*span)) else 1.0 for span in tokenized.spans]
    assert batch["word_weights"][0] == expected
    assert {1.0, 2.0} == set(expected)
    assert [text[a:b] for a, b in content_spans(text)] == content
    assert content_spans(text, language=language) == content_spans(text)


def content_places(text: str, content: list[str]):
    cursor = 0
    for word in content:
        start = text.index(word, cursor)
        cursor = start + len(word)
        yield start, cursor


def test_captions_of_english_corpora_are_english():
    pytest.importorskip("stopwordsiso")
    texts = [
        "man in a red shirt",
        "dogs",
        "a man kicks a ball",
        "people die in a war",
        "car",
        "123",
        "a girl is in a car",
    ]
    assert [detect_language(text) for text in texts] == ["en"] * len(texts)


@pytest.fixture
def without_libraries(monkeypatch):
    """An environment in which none of the libraries can be imported."""
    absent = {"stopwordsiso", *LIBRARIES.values()}
    real = importlib.import_module

    def import_module(name, *rest):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    cached = (languages.stop_words, languages._latin_stop_words, languages._chinese, languages._japanese)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(languages.importlib, "import_module", import_module)
    yield
    for function in cached:
        function.cache_clear()


def test_a_missing_library_is_named_and_english_needs_none(without_libraries):
    assert [TEXTS["Latin"][0][a:b] for a, b in content_spans(TEXTS["Latin"][0])] == TEXTS["Latin"][2]
    for script in ("Cyrillic", "Han", "Kana", "Thai"):
        text, language, _ = TEXTS[script]
        with pytest.warns(UserWarning, match=r"words weigh alike: .* pip install 'dmae-video-search\[languages\]'"):
            assert content_spans(text) == []
        with pytest.raises(
            ImportError, match=f"words of language {language!r} need {LIBRARIES.get(language, 'stop')}"
        ):
            content_spans(text, language=language)


def test_a_language_that_is_none_is_refused():
    for wrong in ("english", "xx", ""):
        with pytest.raises(ValueError, match=r"language must be one of af, ar, .* or None to find it"):
            DmaeProcessor(DmaeVideoProcessor(), make_tokenizer("clip"), language=wrong)


@pytest.mark.parametrize("script", ["Latin", "Devanagari", "Han", "Thai"])
def test_words_are_told_with_their_tokens(script):
    text, language, content = TEXTS[script]
    need(language)
    processor = DmaeProcessor(DmaeVideoProcessor(), make_tokenizer("metaclip_2"), max_words=99)
    found = processor.words(text)
    assert set(content) <= {word for word, _ in found} and "".join(w for w, _ in found) == text.replace(" ", "")
    weights = processor(text=[text])["word_weights"][0]
    assert {word for word, at in found if all(weights[n] == 2 for n in at)} >= set(content)


@given(st.text(max_size=40))
def test_any_text_has_words_that_are_in_order_and_its_own(text):
    spans = content_spans(text, language="en")
    assert all(0 <= a < b <= len(text) for a, b in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


CAPTIONS = ["a dog runs", "a dog sleeps", "a cat sleeps", "ein Hund läuft", "一只狗"]


def test_idf_weighs_rare_tokens_more_and_is_saved(tmp_path):
    tokenizer = make_tokenizer("metaclip_2")
    processor = DmaeProcessor(DmaeVideoProcessor(), tokenizer, language="de")
    processor.learn_idf(iter(CAPTIONS))
    batch = processor(text=["a dog sleeps", "a bicycle"], return_tensors="pt")
    ids = [tokenizer.encode(caption) for caption in CAPTIONS]
    for row in range(2):
        for token, weight, real in zip(
            batch["input_ids"][row], batch["word_weights"][row], batch["attention_mask"][row]
        ):
            count = sum(int(token) in caption for caption in ids)
            expected = 1 + math.log(6 / (count + 1)) / math.log(6) if real else 0.0
            assert weight.item() == pytest.approx(expected, abs=1e-6)
    assert batch["word_weights"][0, 0] == 1.0  # the start is in every caption
    assert batch["word_weights"].max() == 2.0  # no caption has all tokens of a bicycle
    processor.save_pretrained(tmp_path)
    loaded = DmaeProcessor.from_pretrained(tmp_path)
    assert (loaded.word_weighting, loaded.language) == ("idf", "de")
    assert loaded(text=CAPTIONS, return_tensors="pt")["word_weights"].equal(
        processor(text=CAPTIONS, return_tensors="pt")["word_weights"]
    )


def test_idf_without_captions_is_refused():
    processor = DmaeProcessor(DmaeVideoProcessor(), make_tokenizer("clip"), word_weighting="idf")
    with pytest.raises(ValueError, match=r"call processor.learn_idf\(captions\) first"):
        processor(text="a dog")
    with pytest.raises(ValueError, match="at least one caption"):
        processor.learn_idf([])
    with pytest.raises(ValueError, match="no token in more than there are"):
        TokenFrequencies(3, {5: 4})


def slow_tokenizer(folder):
    """SigLIP's own tokenizer, which is written in Python and drops punctuation."""
    spm = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    text = folder / "text.txt"
    text.write_text("\n".join(["a dog's ball rolls, over the green grass", "two men ride a bicycle"] * 20).lower())
    spm.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spiece"), vocab_size=60, pad_id=-1, bos_id=-1, eos_id=1, unk_id=2,
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    from transformers import SiglipTokenizer

    return SiglipTokenizer(str(folder / "spiece.model"))


def test_a_tokenizer_that_tells_no_places_is_followed_by_its_letters(tmp_path):
    tokenizer = slow_tokenizer(tmp_path)
    assert not tokenizer.is_fast
    processor = DmaeProcessor(DmaeVideoProcessor(), tokenizer, max_words=40, pad_to=48, lower_case=True)
    text = "A dog's ball rolls, over the GREEN grass!"
    item = processor.tokenize([text])[0]
    tokens = tokenizer.convert_ids_to_tokens(item.ids)
    for token, (start, stop) in zip(tokens, item.spans):
        letters = token.replace("▁", "")
        found = text.lower()[start:stop].replace("'", "").replace(",", "").replace(" ", "")
        assert found == ("" if token == "</s>" else letters)
    weights = processor(text=[text], return_tensors="pt")["word_weights"]
    assert weights.shape == (1, 48) and weights[0, len(tokens) :].eq(0).all()
    light = {text.lower()[a:b] for (a, b), w in zip(item.spans, weights[0].tolist()) if w == 1 and a < b}
    assert "".join(sorted("".join(light))) and not {"ball", "green"} & light
