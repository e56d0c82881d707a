"""What clients send becomes a typed request, or a refusal that says what, got and allowed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError, MedVLError, PromptError, RequestError
from lib.predict.propagate import Propagation
from lib.prompt import MAX_POINTS
from lib.request import MAX_PARAMS_BYTES, OPTIONS, BoxRequest, parse_params, parse_request

IMAGE = {"image": "/studies/ct.nii.gz", "model": "interactive"}


def only_object(**fields):
    (prompts,) = parse_request(IMAGE | fields).objects.values()
    return prompts


def test_clicks_of_both_signs_are_kept_apart_in_order():
    prompts = only_object(foreground=[[1, 2, 3], [4, 5, 6]], background=[[7, 8, 9]])
    assert prompts.foreground == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert prompts.background == ((7.0, 8.0, 9.0),)


def test_points_with_labels_are_clicks_of_both_signs():
    prompts = only_object(points=[[1, 2, 3], [4, 5, 6]], point_labels=[0, 1])
    assert prompts.foreground == ((4.0, 5.0, 6.0),)
    assert prompts.background == ((1.0, 2.0, 3.0),)


def test_slicers_roi_is_interleaved_and_in_any_order():
    assert only_object(roi=[9, 1, 2, 8, 7, 3]).boxes == (
        BoxRequest((9.0, 2.0, 7.0), (1.0, 8.0, 3.0), is_ordered=False),
    )


def test_cvats_roi_is_two_corners_on_a_picture():
    assert only_object(roi=[5, 6, 50, 60]).boxes == (BoxRequest((5.0, 6.0), (50.0, 60.0), is_ordered=False),)


def test_an_empty_roi_is_no_box():
    assert only_object(roi=[], foreground=[[1, 1, 1]]).boxes == ()


def test_our_own_box_has_its_low_corner_first():
    assert only_object(box=[[1, 2, 3], [4, 5, 6]]).boxes == (
        BoxRequest((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), is_ordered=True),
    )


def test_several_boxes_of_one_object_are_several():
    boxes = only_object(box=[[[1, 2, 3], [4, 5, 3]], [[1, 2, 9], [4, 5, 9]]]).boxes
    assert [box.low[2] for box in boxes] == [3, 9]


def test_several_objects_keep_their_order():
    objects = {"spleen": {"foreground": [[1, 1, 1]]}, "liver": {"box": [[0, 0, 0], [2, 2, 2]]}}
    assert list(parse_request(IMAGE | {"objects": objects}).objects) == ["spleen", "liver"]


def test_the_object_is_named_by_slicers_segment():
    assert list(parse_request(IMAGE | {"label": "liver"}).objects) == ["liver"]
    assert list(parse_request(IMAGE | {"selected_label_name": "spleen"}).objects) == ["spleen"]
    assert list(parse_request(IMAGE).objects) == ["object"]


def test_options_that_are_null_are_not_given():
    request = parse_request(
        IMAGE | {"client_id": None, "slice": None, "text": None, "result_extension": None}
    )
    assert (request.user, request.slice_index, request.text, request.suffix) == (None, None, "", None)


def test_viewers_first_choices_mean_the_operators_settings():
    request = parse_request(IMAGE | {"axis": "auto", "window": "auto", "propagation": "memory", "text": ""})
    assert (request.axis, request.window, request.propagation) == ("auto", None, Propagation.MEMORY)


@pytest.mark.parametrize(("axis", "expected"), [(2, "2"), ("coronal", "coronal"), ("0", "0")])
def test_an_axis_is_a_name_or_a_number(axis, expected):
    assert parse_request(IMAGE | {"axis": axis}).axis == expected


def test_whoever_has_a_session_or_an_own_client_id_is_a_user():
    assert parse_request(IMAGE | {"session": {"name": "abc"}, "client_id": "ann"}).user == "session:abc"
    assert parse_request(IMAGE | {"client_id": "ann"}).user == "client:ann"


@pytest.mark.parametrize("client_id", [None, "", "user-xyz"])
def test_ids_that_many_share_are_nobodys(client_id):
    assert parse_request(IMAGE | {"client_id": client_id}).user is None


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(RequestError, match=r"'foregrounds'.*foreground"):
        parse_request(IMAGE | {"foregrounds": [[1, 2, 3]]})


def test_an_unknown_prompt_inside_an_object_is_refused():
    with pytest.raises(RequestError, match=r"'boxes'.*box"):
        parse_request(IMAGE | {"objects": {"liver": {"boxes": []}}})


def test_prompts_inside_and_beside_objects_are_refused():
    with pytest.raises(RequestError, match="foreground"):
        parse_request(IMAGE | {"objects": {"a": {"foreground": [[1, 1, 1]]}}, "foreground": [[1, 1, 1]]})


@pytest.mark.parametrize(
    "fields",
    [
        {"foreground": [[1, 2, "3"]]},
        {"foreground": [[1, 2, None]]},
        {"foreground": [[1, 2, True]]},
        {"foreground": [[1, 2, float("nan")]]},
        {"foreground": [[1, 2, float("inf")]]},
        {"foreground": [[1, 2, 10**320]]},
        {"foreground": [[[1, 2, 3]]]},
        {"foreground": [1, 2, 3]},
        {"foreground": [[1, 2, 3, 4]]},
        {"foreground": [[]]},
        {"foreground": "[[1, 2, 3]]"},
        {"foreground": {"i": 1}},
        {"points": [[1, 2, 3]], "point_labels": [1, 0]},
        {"points": [[1, 2, 3]], "point_labels": [2]},
        {"points": [[1, 2, 3]], "point_labels": [True]},
        {"point_labels": 1},
        {"roi": [1, 2, 3]},
        {"roi": [1, 2, 3, 4, 5, "6"]},
        {"roi": "1,2,3,4"},
        {"box": [1, 2, 3, 4, 5, 6]},
        {"box": [[1, 2, 3]]},
        {"box": [[1, 2, 3], [4, 5]]},
        {"box": [[], []]},
        {"box": 7},
        {"slice": 1.5},
        {"slice": -1},
        {"slice": "2"},
    ],
    ids=lambda fields: str(fields)[:50],
)
def test_coordinates_of_the_wrong_kind_are_refused_with_the_value(fields):
    with pytest.raises(PromptError, match="got "):
        parse_request(IMAGE | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": 7},
        {"text": "x" * 1001},
        {"label": ["liver"]},
        {"axis": "transversal"},
        {"axis": 3},
        {"propagation": "both"},
        {"undo": "perhaps"},
        {"result_extension": ".exe"},
        {"result_dtype": "float32"},
        {"objects": []},
        {"objects": {}},
        {"objects": {"": {}}},
        {"objects": {"liver": []}},
        {"label_info": [{"name": 3, "id": 1}]},
        {"label_info": [{"name": "a", "id": "1"}]},
        {"client_id": 5},
    ],
    ids=lambda fields: str(fields)[:50],
)
def test_options_of_the_wrong_kind_are_refused(fields):
    with pytest.raises(InputError):
        parse_request(IMAGE | fields)


def test_ten_thousand_points_are_refused_with_the_number_allowed():
    with pytest.raises(PromptError, match=rf"10000.*{MAX_POINTS}"):
        parse_request(IMAGE | {"foreground": [[1, 1, 1]] * 10_000})


def test_too_many_points_of_both_signs_together_are_refused():
    with pytest.raises(PromptError, match=str(MAX_POINTS)):
        parse_request(IMAGE | {"foreground": [[1, 1, 1]] * 600, "background": [[1, 1, 1]] * 600})


def test_a_long_value_is_shortened_in_the_refusal():
    with pytest.raises(PromptError) as refusal:
        parse_request(IMAGE | {"foreground": "x" * 5000})
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", ["{", "[1]", "7", "null", '"text"', "[" * 100_000, "NaN", "{'a': 1}"])
def test_params_that_are_no_json_object_are_refused(text):
    with pytest.raises(RequestError, match="JSON object"):
        parse_params(text)


def test_params_without_end_are_refused():
    with pytest.raises(RequestError, match=str(MAX_PARAMS_BYTES)):
        parse_params(json.dumps({"text": "x" * MAX_PARAMS_BYTES}))


@pytest.mark.parametrize("key", ["image", "model", "session", "scribbles"])
def test_params_cannot_say_what_only_the_address_says(key):
    with pytest.raises(RequestError, match=key):
        parse_params(json.dumps({key: "/etc/passwd"}))


def test_no_params_are_empty_params():
    assert parse_params("") == {}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*OPTIONS, "unknown"]), JSON_VALUES, max_size=4))
def test_whatever_comes_is_a_request_or_a_refusal_with_a_4xx(options):
    status = 200
    try:
        parse_request(IMAGE | options)
    except MedVLError as refusal:
        status = refusal.status
    assert 200 <= status < 500
