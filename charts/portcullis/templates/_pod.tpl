{{/* Where the keys of a cache that survives a restart come from, as arguments. */}}
{{- define "portcullis.cacheKeysArgs" -}}
{{- with .Values.cacheKeys -}}
{{- if and .dir (or .secret.name .secret.namespace) -}}
{{- fail "cacheKeys has both dir and secret: leave one of them out" -}}
{{- else if ne (empty .secret.name) (empty .secret.namespace) -}}
{{- fail "cacheKeys.secret needs both namespace and name" -}}
{{- else if and .besideCache (not .secret.name) -}}
{{- fail "cacheKeys.besideCache says how cacheKeys.secret is used, which is empty" -}}
{{- else if and .secret.name (eq .secret.namespace $.Release.Namespace) (not .besideCache) -}}
{{- fail "cacheKeys.secret would lie beside the cache, where whoever reads Secrets has both: keep it in another namespace, or set cacheKeys.besideCache=true" -}}
{{- else if .dir -}}
- {{ printf "--cache-keys-dir=%s" .dir | quote }}
{{- else if .secret.name -}}
- --cache-keys-secret={{ .secret.namespace }}/{{ .secret.name }}
{{- if .besideCache }}
- --cache-keys-beside-cache
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where a pod runs. Takes the values that say so. */}}
{{- define "portcullis.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}
