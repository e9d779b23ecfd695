-- Argo CD's own rule for autoscalers, with patience. A new pod has no metrics for its first half minute, so where few
-- pods run, every rollout would count as a failed deployment. An autoscaler without metrics keeps the replicas it has.
-- Five minutes: what Kubernetes itself gives a new pod (--horizontal-pod-autoscaler-cpu-initialization-period).
local os = require("os")
local patience_minutes = 5

local broken = {
  FailedGetScale = true,
  FailedUpdateScale = true,
  InvalidSelector = true,
}
local blind = {
  FailedGetResourceMetric = true,
  FailedGetObjectMetric = true,
  FailedGetPodsMetric = true,
  FailedGetExternalMetric = true,
  FailedComputeMetricsReplicas = true,
}

-- The time that long ago, as Kubernetes writes times. There is no string library here, but such times compare as text.
-- Made from the fields of UTC by two conversions of local time, which cancel each other in every time zone.
local now = os.date("!*t")
local long_ago = os.date("%Y-%m-%dT%H:%M:%SZ", os.time({
  year = now.year, month = now.month, day = now.day, hour = now.hour, min = now.min - patience_minutes, sec = now.sec,
}))

local health = {status = "Progressing", message = "Waiting to Autoscale"}
if obj.status == nil or obj.status.conditions == nil then
  return health
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.status == "False" and broken[condition.reason] then
    return {status = "Degraded", message = condition.message}
  end
  if condition.status == "False" and blind[condition.reason] then
    if condition.lastTransitionTime < long_ago then
      return {status = "Degraded", message = condition.message}
    end
    health = {status = "Healthy", message = "no metrics yet: " .. condition.message}
  end
  if condition.status == "True" and (condition.type == "AbleToScale" or condition.type == "ScalingLimited") then
    if health.status ~= "Healthy" then
      health = {status = "Healthy", message = condition.message}
    end
  end
end
return health
