"""Settings are read once, and what is misspelt or wrong is refused by name."""

import pytest

from lib.errors import ConfigError
from lib.model.weights import default_name
from lib.predict.propagate import Propagation
from lib.settings import Settings, parse_settings


def test_text_becomes_typed_values():
    settings = parse_settings(
        {
            "cache_mb": "12",
            "propagation": "none",
            "cors_origins": "https://a.org, https://b.org",
            "device": "cuda:1",
        }
    )
    assert settings.cache_mb == 12
    assert settings.propagation is Propagation.NONE
    assert settings.cors_origins == ("https://a.org", "https://b.org")
    assert settings.device == "cuda:1"


def test_nothing_given_means_the_default_weights():
    assert parse_settings(None) == Settings()
    assert parse_settings({}).weights == default_name()


def test_a_misspelt_setting_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"cache_size.*cache_mb"):
        parse_settings({"cache_size": "12"})


def test_settings_of_monai_label_are_left_to_it():
    assert (
        parse_settings({"server_mode": "true", "models": "interactive", "skip_trainers": "true"})
        == Settings()
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache_mb", "much"),
        ("cache_mb", "-1"),
        ("session_minutes", "nan"),
        ("session_minutes", "0"),
        ("max_concurrent_inferences", "0"),
        ("propagation", "memories"),
        ("window", "soft"),
        ("device", "tpu"),
    ],
)
def test_a_wrong_value_is_refused_with_the_setting_and_the_value(key, value):
    with pytest.raises(ConfigError, match=f"{key}.*{value}"):
        parse_settings({key: value})
