"""A dashboard: rows of tiles and graphs that look alike, laid out from left to right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from scripts.dashboards.colours import fixed_colours
from scripts.dashboards.expressions import Expression

from tidegate.metrics.families import build, configuration, process, upstream

TAG = "tidegate"
_WIDTH = 24
_TILE_HEIGHT = 4
_GRAPH_HEIGHT = 8
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

Step = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One query of a panel.

    Attributes:
        expression: What it asks.
        legend: Name of its series; `{{label}}` stands for a label's value.
        exemplars: Whether single requests are shown as dots, with their trace or request id.
    """

    expression: Expression
    legend: str
    exemplars: bool = False


class Board:
    """Collects panels; `build` returns the JSON that Grafana imports.

    Args:
        uid: Stays the same for ever: links and bookmarks use it.
        title: Shown in Grafana's list.
        description: One sentence about whom it helps.
        filters: Labels that the reader can choose values of, beside job and instance.
    """

    def __init__(self, uid: str, title: str, description: str, filters: Sequence[str] = ()) -> None:
        self.uid = uid
        self._ids = 0
        self._x = self._y = self._line_height = 0
        self._board = (
            builders.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags([TAG])
            .editable()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .time("now-3h", "now")
            .refresh("30s")
            .link(_link_to_the_others())
        )
        for variable in _variables(filters):
            self._board.with_variable(variable)
        for annotation in _annotations():
            self._board.annotation(annotation)

    def row(self, title: str) -> None:
        """Begin a row with a heading."""
        self._end_line()
        row = builders.Row(title).id(self._next_id()).grid_pos(self._place(_WIDTH, 1))
        self._board.with_row(row)
        self._end_line()

    def tile(
        self,
        title: str,
        expression: Expression,
        steps: Sequence[Step],
        *,
        note: str = "",
        unit: str | None = None,
        width: int = 3,
        decimals: int | None = None,
        idle: str = "no traffic",
        meanings: dict[str, tuple[str, str]] | None = None,
        trend: bool = True,
    ) -> None:
        """Add one number.

        Args:
            title: Short.
            expression: One series.
            steps: Colours by the value from which they hold; the first value is None.
            note: What the families' help texts do not say.
            unit: Where the expression's own is not the best.
            width: In 24ths of the page.
            decimals: Digits after the point; Grafana's choice if None.
            idle: Shown while there is no value.
            meanings: Text and colour instead of certain values.
            trend: Whether the past is drawn behind the number.
        """
        panel = (
            stat.Panel()
            .id(self._next_id())
            .title(title)
            .description(_description(note, [expression]))
            .datasource(_SOURCE)
            .grid_pos(self._place(width, _TILE_HEIGHT))
            .with_target(_query(Line(expression, title), "A"))
            .unit(unit or expression.unit)
            .no_value(idle)
            .thresholds(_thresholds(steps))
            .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
            .graph_mode(common.BigValueGraphMode.AREA if trend else common.BigValueGraphMode.NONE)
            .color_mode(common.BigValueColorMode.VALUE)
            .text_mode(common.BigValueTextMode.VALUE)
            .justify_mode(common.BigValueJustifyMode.AUTO)
            .orientation(common.VizOrientation.AUTO)
            .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        )
        if decimals is not None:
            panel.decimals(decimals)
        if meanings:
            panel.mappings([_meaning(meanings)])
        self._board.with_panel(panel)

    def graph(
        self,
        title: str,
        lines: Sequence[Line],
        *,
        note: str = "",
        unit: str | None = None,
        width: int = 8,
        style: Literal["line", "area", "stack", "bars"] = "line",
        top: float | None = None,
        idle: str = "no traffic",
        steps: Sequence[Step] = (),
    ) -> None:
        """Add values over time.

        Args:
            title: Says what is drawn, with "per hour" and the like.
            lines: Queries with one unit.
            note: What the families' help texts do not say.
            unit: Where the expressions' own is not the best.
            width: In 24ths of the page.
            style: Lines, filled lines, lines on top of each other, or bars likewise.
            top: Upper end of the axis, if it has one by nature.
            idle: Shown while there is no series.
            steps: Values at which a line is drawn across, with their colours.

        Raises:
            ValueError: The lines have different units, and none was given.
        """
        expressions = [line.expression for line in lines]
        units = {expression.unit for expression in expressions}
        if unit is None and len(units) != 1:
            raise ValueError(f"{title}: one axis for {sorted(units)}")
        panel = (
            timeseries.Panel()
            .id(self._next_id())
            .title(title)
            .description(_description(note, expressions))
            .datasource(_SOURCE)
            .grid_pos(self._place(width, _GRAPH_HEIGHT))
            .unit(unit or units.pop())
            .min(0)
            .no_value(idle)
            .line_width(1)
            .show_points(common.VisibilityMode.NEVER)
            .legend(_legend(lines))
            .tooltip(
                common_builders.VizTooltipOptions()
                .mode(common.TooltipDisplayMode.MULTI)
                .sort(common.SortOrder.DESCENDING)
            )
            .fill_opacity({"line": 0, "area": 20, "stack": 30, "bars": 80}[style])
        )
        if style in ("stack", "bars"):
            panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
        if style == "bars":
            panel.draw_style(common.GraphDrawStyle.BARS)
        if top is not None:
            panel.max(top)
        if steps:
            panel.thresholds(_thresholds(((None, "transparent"), *steps)))
            panel.thresholds_style(
                common_builders.GraphThresholdsStyleConfig().mode(
                    common.GraphTresholdsStyleMode.DASHED
                )
            )
        for index, line in enumerate(lines):
            panel.with_target(_query(line, chr(ord("A") + index)))
        for matcher, pattern, colour in fixed_colours(lines):
            properties = [
                dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
            ]
            if matcher == "name":
                panel.override_by_name(pattern, properties)
            else:
                panel.override_by_regexp(pattern, properties)
        self._board.with_panel(panel)

    def build(self) -> dict[str, Any]:
        """Return the dashboard as JSON's own types."""
        built: dict[str, Any] = json.loads(json.dumps(self._board.build(), cls=JSONEncoder))
        return built

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _place(self, width: int, height: int) -> dashboard.GridPos:
        if self._x + width > _WIDTH:
            self._end_line()
        position = dashboard.GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._line_height = max(self._line_height, height)
        return position

    def _end_line(self) -> None:
        self._y += self._line_height
        self._x = self._line_height = 0


def _query(line: Line, name: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(line.expression.text).ref_id(name).range()
    query.legend_format(line.legend).datasource(_SOURCE)
    return query.exemplar(True) if line.exemplars else query


def _description(note: str, expressions: Sequence[Expression]) -> str:
    families = dict.fromkeys(family for expression in expressions for family in expression.families)
    texts = [note] if note else []
    texts += [f"`{family.name}`: {family.help}" for family in families]
    return "\n\n".join(texts)


def _thresholds(steps: Sequence[Step]) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, colour) for value, colour in steps])
    )


def _meaning(meanings: dict[str, tuple[str, str]]) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        options={
            value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(meanings.items())
        }
    )


def _legend(lines: Sequence[Line]) -> common_builders.VizLegendOptions:
    legend = common_builders.VizLegendOptions().show_legend(True)
    legend.placement(common.LegendPlacement.BOTTOM)
    if any("{{" in line.legend for line in lines):
        return legend.display_mode(common.LegendDisplayMode.TABLE).calcs(
            ["lastNotNull", "mean", "max"]
        )
    return legend.display_mode(common.LegendDisplayMode.LIST).calcs(["lastNotNull"])


def _link_to_the_others() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Tidegate")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .tooltip("The other dashboards, for the same time and instances")
        .include_vars(True)
        .keep_time(True)
    )


def _variables(
    filters: Sequence[str],
) -> list[builders.DatasourceVariable | builders.QueryVariable]:
    scope = 'job=~"$job", instance=~"$instance"'
    known = f"{upstream.UPSTREAM_REQUESTS.name}{{{scope}}}"
    variables: list[builders.DatasourceVariable | builders.QueryVariable] = [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        # Without a value for "all", Grafana puts in the jobs it has found: process_… and
        # python_… of other programs must not be added up.
        _choice("job", "Job", build.BUILD_INFO.name),
        _choice("instance", "Instance", f'{build.BUILD_INFO.name}{{job=~"$job"}}'),
    ]
    # Before the first attempt there is nothing to choose, and all is all.
    chosen = [_choice(label, label.capitalize(), known).all_value(".*") for label in filters]
    return [*variables, *chosen]


def _choice(label: str, title: str, series: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(label)
        .label(title)
        .datasource(_SOURCE)
        .query(f"label_values({series}, {label})")
        .multi(True)
        .include_all(True)
        .current(dashboard.VariableOption(text=["All"], value=["$__all"], selected=True))
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )


def _annotations() -> list[builders.AnnotationQuery]:
    scope = '{job=~"$job", instance=~"$instance"}[$__rate_interval]'
    start, reload = process.START_TIME.name, configuration.CONFIG_RELOADS.name
    return [
        builders.AnnotationQuery()
        .name(name)
        .datasource(_SOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
        for name, colour, expression in (
            ("Starts", "red", f"changes({start}{scope}) > 0"),
            ("Reloads", "blue", f"sum by (instance, result) (increase({reload}{scope})) > 0"),
        )
    ]
