"""Clouds, behind four methods (`base.Provider`). An adapter only translates: it never waits,
polls or chooses, and what it cannot do its `Capabilities` say."""
