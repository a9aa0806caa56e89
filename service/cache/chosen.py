"""Which cache it is: Redis if the settings name one, else a file."""

from service.cache.redis_store import RedisStore
from service.cache.sealed import CacheStore
from service.cache.sqlite_store import embedded_store
from service.settings import Settings


def chosen_store(settings: Settings) -> CacheStore:
    """The store of a service with these settings."""
    if settings.redis_url is not None:
        return RedisStore(
            settings.redis_url.get_secret_value(),
            timeout_ms=settings.redis_timeout_ms,
            ttl_seconds=settings.cache_ttl_seconds,
        )
    return embedded_store(
        settings.data_dir / "cache.sqlite3",
        max_bytes=settings.cache_max_bytes,
        ttl_seconds=settings.cache_ttl_seconds,
    )
