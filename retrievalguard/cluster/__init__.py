"""Several machines: Ray Serve runs replicas of the service, and samplers that draw for any of them.

A chunk of samples is the same number wherever it is drawn: its noise is keyed by secret, model, input and
number. So which sampler drew it, whether one was lost on the way, and who joined meanwhile cannot be seen in
an answer.

Belongs here: what Ray needs to know of the service, and the command. Does not: how an image is answered.

command    the command `retrievalguard cluster`
plan       what a cluster is to be; checked before Ray is started
surroundings   what Ray finds in its environment
ray_here   Ray, started on this machine or joined
rollout    applications of Serve: the samplers of one version, the API, and from one version to the next
replica    an API replica: the very same application as `retrievalguard serve`
sampler    a sampler replica
remote     the sampler of an API replica's engine, which asks the replicas
wire       what goes between the two, and what proves that it is of this model and secret
gate       what a client is told when a replica ends before it has answered
shards     copies of the gallery's shards, as actors
"""
