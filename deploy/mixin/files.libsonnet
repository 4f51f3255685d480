// Written by `python -m scripts.dashboards`: jsonnet cannot list a folder.
{
  dashboards: {
    'tidegate-limits.json': import '../grafana/dashboards/tidegate-limits.json',
    'tidegate-overview.json': import '../grafana/dashboards/tidegate-overview.json',
    'tidegate-providers.json': import '../grafana/dashboards/tidegate-providers.json',
    'tidegate-runtime.json': import '../grafana/dashboards/tidegate-runtime.json',
  },
  groups: (import 'rules.json').groups,
}
