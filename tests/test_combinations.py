"What a mark adds to others: which sets are asked for, gains by hand, what is missing by name."
import pytest
from chromexpress.core import InputError
from chromexpress.registry import load_study, mark_sets
from toy import write_study

def test_pairs_are_every_two_marks_in_the_order_of_the_study():
    assert mark_sets(["pairs"], ["K4", "K9", "K27"]) == [("K4", "K9"), ("K4", "K27"), ("K9", "K27")]
    assert mark_sets(["pairs"], ["K4"]) == [] and mark_sets(["pairs", "all"], ["K4", "K9"]) == [("K4", "K9")]
    assert mark_sets([("K27", "K4"), "each"], ["K4", "K27"]) == [("K4", "K27"), ("K4",), ("K27",)]

def test_a_study_may_ask_for_pairs_and_a_list_holds_assays_alone(tmp_path):
    path = write_study(tmp_path, '["ridge"]', '[models.ridge]\nmarks = ["each", "pairs"]\n')
    assert load_study(path)[1]["ridge"].marks == ("each", "pairs")
    path.write_text(path.read_text().replace('["each", "pairs"]', '[["pairs", "H3K4me3"]]'))
    with pytest.raises(InputError, match="'pairs' is no assay of this study"): load_study(path)
