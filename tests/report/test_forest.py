from pam.report import claims, results
from pam.report.figures import forest
from pam.study import Study, Variant

STUDY = Study(
    name="three",
    question="Which is best?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("fpa"), Variant("aunet"), Variant("rfna")),
    folds=5,
    seeds=1,
)


def drawn(swept, **chosen) -> dict[str, bytes]:
    manifest = swept(STUDY, **chosen)
    found = results.collect(manifest, STUDY)
    return forest.draw(claims.against_reference(STUDY, found.scores["patient"]), found.table, "unet")


def test_the_plot_is_the_same_each_time(swept) -> None:
    first = drawn(swept)
    assert first["png"].startswith(b"\x89PNG")
    assert first["svg"].startswith(b"<?xml")
    assert drawn(swept) == first


def test_a_row_without_an_interval_still_has_its_line(swept) -> None:
    missing = {("rfna", fold, 0) for fold in range(5)}
    assert drawn(swept, without=missing).keys() == {"png", "svg", "pdf"}


def test_without_any_interval_there_is_no_plot(swept) -> None:
    assert drawn(swept, folds=[0]) == {}
