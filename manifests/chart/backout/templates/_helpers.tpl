{{/* The labels of an object; takes root, name and component. */}}
{{- define "backout.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: backout
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The reference of an image; takes root and image. */}}
{{- define "backout.image" -}}
{{- with .root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* What both pods have in common, but for the container. */}}
{{- define "backout.pod" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What both containers have in common; takes root and values. */}}
{{- define "backout.container" -}}
image: {{ include "backout.image" (dict "root" .root "image" .values.image) }}
{{- with .root.Values.images.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
resources: {{- toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* A disruption budget, if there is to be one; takes root, values and component. */}}
{{- define "backout.budget" -}}
{{- if .values.podDisruptionBudget.enabled }}
{{- $least := int .values.podDisruptionBudget.minAvailable }}
{{- if ge $least (int .values.replicas) }}
{{- fail (printf "%s.podDisruptionBudget.minAvailable is %d, with %d replicas: every drain would be held up for ever. Set more replicas, or %s.podDisruptionBudget.enabled=false" .component $least (int .values.replicas) .component) }}
{{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: backout-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "backout.labels" (dict "root" .root "name" (printf "backout-%s" .component) "component" .component) | nindent 4 }}
spec:
  minAvailable: {{ $least }}
  # A pod that does not work anyway holds up no drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {app.kubernetes.io/name: backout-{{ .component }}}
{{- end }}
{{- end }}
