"""Qualitative examples: images with prompts and occlusion maps, and the image features in two dimensions."""

from typing import TYPE_CHECKING, Any

from retclip.report.drawing import FAINT, GRAY, nothing, subplots
from retclip.report.examples import examples
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
{% if examples %}
<p>Up to two right and two wrong predictions of every class, drawn at random from the test split{{ run.shown_seed }}.
Below each image are the prompts nearest to it. Blue marks the patches without which the score of the named class
falls.</p>
<div class="cards">
{% for example in examples %}
<div class="card {{ "right" if example.is_right else "wrong" }}">
<div class="images">
{%- for words, image in example.images %}<img src="{{ image }}" alt="{{ words }}">{% endfor %}</div>
<p><strong>{{ "✓" if example.is_right else "✗" }} {{ example.true }}</strong>
{%- if not example.is_right %}, named {{ example.named }}{% endif %} ({{ wording.percent(example.probability) }})</p>
<ol>{% for prompt in example.prompts %}<li>{{ prompt }}</li>{% endfor %}</ol>
</div>
{% endfor %}
</div>
{% elif run.config.privacy.private %}
<p>This run is private, so no image is shown.</p>
{% else %}
<p>There is no labeled test image to show.</p>
{% endif %}
{{ figure("embedding") }}
"""


def draw_embedding(run: RunFolder) -> "Figure":
    """The tuned configuration's image features of the test patients in two dimensions, by class."""
    import seaborn

    arrays = run.examples
    if len(arrays.embedding) < 2:
        return nothing("fewer than two test patients to draw")
    figure, axes = subplots(height=5.0)
    colors, markers = seaborn.color_palette("colorblind"), "osD^vP"
    edged = {"edgecolor": FAINT, "linewidth": 0.5, "s": 24}  # yellow alone is lost on white, and on a dark page
    for index, name in enumerate(arrays.classes):
        points = arrays.embedding[arrays.embedding_label == index]
        if len(points):
            marker = markers[index // len(colors) % len(markers)]
            axes.scatter(*points.T, facecolor=colors[index % len(colors)], marker=marker, label=str(name), **edged)
    rest = arrays.embedding[arrays.embedding_label < 0]
    if len(rest):
        axes.scatter(*rest.T, color=GRAY, s=12, alpha=0.5, label="unlabeled")
    axes.set(xticks=[], yticks=[], xlabel=str(arrays.embedding_method))
    figure.legend(loc="outside right upper")
    return figure


def _words(run: RunFolder) -> dict[str, Any]:
    return {"examples": [] if run.config["privacy"]["private"] else examples(run.examples)}


SECTION = Section(
    "Qualitative examples",
    TEXT,
    is_ready=lambda run: run.examples is not None,
    figures={"embedding": draw_embedding},
    words=_words,
)
