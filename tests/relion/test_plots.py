"""Pictures: what they show, checked on the Axes, with the Agg backend."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from mrcz.ReliablePy import ReliablePy
from mrcz.relion.blocks import MissingColumnError
from mrcz.relion.plots import resolution_at

from .samples import MODEL, POSTPROCESS, RELION_30, RELION_31, gctf_micrographs


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def load(tmp_path):
    def of(text):
        (tmp_path / "a.star").write_text(text)
        return ReliablePy(tmp_path / "a.star")
    return of


def drawn(figure):
    """Draw, and tell how many different colours are in the picture."""
    figure.canvas.draw()
    return len(np.unique(np.asarray(figure.canvas.buffer_rgba()).reshape(-1, 4), axis=0))


def curves(axes):
    return {line.get_label(): line for line in axes.lines if len(line.get_xdata()) > 2}


def test_fsc_of_postprocess(load):
    figure, axes = load(POSTPROCESS).plotFSC()
    assert isinstance(figure, Figure)
    found = curves(axes)
    # 0.143 lies half way between 0.3 and 0.4, and between 0.1 and 0.2
    assert list(found) == ["corrected: 2.86 Å", "unmasked maps: 6.67 Å"]
    assert found["corrected: 2.86 Å"].get_ydata().tolist() == [1.0, 0.9, 0.8, 0.243, 0.043]
    assert found["corrected: 2.86 Å"].get_xdata().tolist() == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert "1/Å" in axes.get_xlabel()
    assert axes.get_ylim()[0] < -0.357
    assert any(line.get_ydata()[0] == 0.143 for line in axes.lines)
    assert drawn(figure) > 10


def test_fsc_of_classes(load):
    figure, axes = load(MODEL).plotFSC()
    assert [label.split(":")[0] for label in curves(axes)] == ["class 1", "class 2"]
    assert drawn(figure) > 10


def test_ssnr_of_classes(load):
    figure, axes = load(MODEL).plotSSNR()
    found = curves(axes)
    assert list(found) == ["class 1", "class 2"]
    assert axes.get_yscale() == "log"
    assert np.isnan(found["class 1"].get_ydata()[-1])  # 0 has no place on the axis
    assert found["class 2"].get_ydata().tolist() == [100.0, 40.0, 1.0, 0.5]
    assert drawn(figure) > 10


def test_plots_draw_into_given_axes(load):
    figure, (left, right) = plt.subplots(1, 2)
    rln = load(MODEL)
    assert rln.plotSSNR(ax=left) == (figure, left)
    assert rln.plotFSC(ax=right) == (figure, right)
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("text", [RELION_30, RELION_31])
def test_nothing_to_plot(load, text):
    rln = load(text)
    with pytest.raises(MissingColumnError, match=r"no FSC is loaded.*loaded is data_"):
        rln.plotFSC()
    with pytest.raises(MissingColumnError, match=r"no SSNR is loaded.*loaded is data_"):
        rln.plotSSNR()
    assert not plt.get_fignums()


def test_missing_columns_to_plot(load):
    with pytest.raises(MissingColumnError, match="'data_fsc' has none of"):
        load(POSTPROCESS.replace("Correlation", "Other")).plotFSC()
    with pytest.raises(MissingColumnError, match="'data_model_class_1' has no column 'Resolution'"):
        load(MODEL.replace("Resolution #", "Other #")).plotSSNR()


def test_resolution():
    frequency = np.array([0.0, 0.1, 0.2, 0.3])
    assert resolution_at(frequency, np.array([1, 1, 1, 1.0])) is None
    assert resolution_at(frequency, np.array([0, 1, 1, 1.0])) is None
    assert resolution_at(frequency, np.array([1, 1, 0.0, 1.0]), 0.5) == pytest.approx(1 / 0.15)


def test_gctf_filter(tmp_path):
    source, target = tmp_path / "all.star", tmp_path / "pruned.star"
    source.write_text(gctf_micrographs())
    rln = ReliablePy()
    figure, axes = rln.gctfHistogramFilter(starName=source, outName=target)
    before, after = (ReliablePy(path).star["data_"] for path in (source, target))
    u, v = before["DefocusU"], before["DefocusV"]
    expected = ((u + v) / 2 <= 40000) & (abs(u - v) <= 800) & (
        before["CtfFigureOfMerit"] >= 0) & (before["FinalResolution"] <= 6)
    assert 0 < expected.sum() < len(expected)
    assert after["MicrographName"].tolist() == before["MicrographName"][expected].tolist()
    assert rln.star["data_"]["MicrographName"].tolist() == after["MicrographName"].tolist()
    assert axes.shape == (2, 2)
    assert [panel.lines[0].get_xdata()[0] for panel in axes.flat] == [40000, 800, 0.0, 6.0]
    assert figure.get_suptitle() == f"{expected.sum()} of 200 micrographs kept"
    assert drawn(figure) > 10


def test_gctf_filter_of_relion_31(tmp_path):
    source, target = tmp_path / "all.star", tmp_path / "pruned.star"
    optics = RELION_31[: RELION_31.index("data_particles") - 20]
    source.write_text(optics + gctf_micrographs().replace("\ndata_\n", "\ndata_micrographs\n")
                      .replace("FinalResolution", "CtfMaxResolution"))
    ReliablePy().gctfHistogramFilter(resThreshold=4.0, starName=source, outName=target)
    star = ReliablePy(target).star
    assert list(star) == ["data_optics", "data_micrographs"]
    assert star["data_micrographs"]["CtfMaxResolution"].max() <= 4.0


def test_gctf_filter_rejects_nan_and_says_what_is_missing(tmp_path):
    source = tmp_path / "all.star"
    text = gctf_micrographs(5)
    row = text.splitlines()[-2]
    source.write_text(text.replace(row, "x.mrc x.ctf 1000 1000 0 0.1 nan"))
    rln = ReliablePy()
    rln.gctfHistogramFilter(1e9, 1e9, -1, 1e9, source, tmp_path / "out.star")
    assert "x.mrc" not in rln.star["data_"]["MicrographName"]
    assert len(rln.star["data_"]["MicrographName"]) == 4
    source.write_text(text.replace("CtfFigureOfMerit", "Other"))
    with pytest.raises(MissingColumnError, match=r"'CtfFigureOfMerit' .*the Gctf filter needs"):
        ReliablePy().gctfHistogramFilter(starName=source, outName=tmp_path / "out.star")
