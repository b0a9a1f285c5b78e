{{/* What the names of all objects begin with. */}}
{{- define "portcullis.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- fail (printf "%s begins with a digit, which the name of a Service must not: set fullnameOverride" $full) -}}
{{- end -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels by which the pods of a component are found. They cannot change. Takes the root and the component. */}}
{{- define "portcullis.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels and annotations of an object. Takes the root, the component, and labels and annotations of its own. */}}
{{- define "portcullis.meta" -}}
{{- $labels := include "portcullis.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (replace "+" "_" .root.Chart.Version)) -}}
labels:
  {{- merge $labels (default dict .labels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "portcullis.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "portcullis.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is empty, and the rights would go to every pod of the namespace that names no other account: name one that is there, or set serviceAccount.create=true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the Connect of `connect.create` answers. */}}
{{- define "portcullis.connectUrl" -}}
{{- $host := printf "%s-connect.%s.svc" (include "portcullis.fullname" .) .Release.Namespace -}}
{{- ternary (printf "https://%s:8443" $host) (printf "http://%s:8080" $host) (ne .Values.connect.tls.existingSecret "") -}}
{{- end -}}

{{/* The hosts of the ConnectServer, as JSON. */}}
{{- define "portcullis.hosts" -}}
{{- if .Values.connectServer.hosts -}}
{{- toJson .Values.connectServer.hosts -}}
{{- else if .Values.connect.create -}}
{{- list (dict "url" (include "portcullis.connectUrl" .)) | toJson -}}
{{- else -}}
{{- fail "connectServer.hosts is empty: say where Connect answers, such as --set connectServer.hosts[0].url=https://connect.internal:8443, or have the chart run one with connect.create" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.tokenSecret" -}}
{{- with .Values.connectServer.token -}}
{{- if and .value .existingSecret -}}
{{- fail "connectServer.token has both value and existingSecret: leave one of them out" -}}
{{- else if .existingSecret -}}
{{- .existingSecret -}}
{{- else if .value -}}
{{- printf "%s-connect-token" (include "portcullis.fullname" $) -}}
{{- else -}}
{{- fail "connectServer.token is empty: give the token with --set-file connectServer.token.value=./token.txt, or name a Secret with connectServer.token.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names of the admission policies that stand guard, as JSON; each has a binding of the same name. */}}
{{- define "portcullis.admissionPolicies" -}}
{{- $names := list "requested-by" "status" "profiles" "namespaces" "definitions" -}}
{{- if .Values.admission.requireUse }}{{ $names = append $names "use" }}{{ end -}}
{{- $policies := list -}}
{{- range $names }}{{ $policies = append $policies (printf "%s-%s" (include "portcullis.fullname" $) .) }}{{ end -}}
{{- toJson $policies -}}
{{- end -}}
