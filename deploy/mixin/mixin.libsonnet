// Tidegate's dashboards, recording rules and alerts, for those who deploy mixins:
//
//   (import 'tidegate/deploy/mixin/mixin.libsonnet') + { _config+:: { refresh: '1m' } }
//
// Jobs and instances are variables of the dashboards, so there is no selector to set.
local files = import 'files.libsonnet';

{
  _config+:: {
    // Folder and default view of the dashboards.
    dashboardFolder: 'Tidegate',
    tags: ['tidegate'],
    refresh: '30s',
    from: 'now-3h',
    // Added to every alert, such as { team: 'platform' }.
    alertLabels: {},
  },

  local config = self._config,

  // The groups whose rules have a field, with those rules alone.
  local groupsWith(field) = [
    group { rules: [rule for rule in group.rules if std.objectHas(rule, field)] }
    for group in files.groups
    if std.length([rule for rule in group.rules if std.objectHas(rule, field)]) > 0
  ],

  grafanaDashboardFolder: config.dashboardFolder,
  grafanaDashboards+:: {
    [name]: files.dashboards[name] {
      tags: config.tags,
      refresh: config.refresh,
      time+: { from: config.from },
      // The dashboards find each other by tag.
      links: [link { tags: config.tags } for link in super.links],
    }
    for name in std.objectFields(files.dashboards)
  },

  prometheusRules+:: { groups+: groupsWith('record') },
  prometheusAlerts+:: {
    groups+: [
      group {
        rules: [rule { labels+: config.alertLabels } for rule in group.rules],
      }
      for group in groupsWith('alert')
    ],
  },
}
