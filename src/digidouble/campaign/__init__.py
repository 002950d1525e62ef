"""Campaigns: one plate, many personalised versions, from a table of viewers. docs/campaign.md has the file's schema.

result = run_campaign(Path("campaign.yaml"), Path("out"))
"""

from __future__ import annotations

from digidouble.campaign.estimate import Estimate, check_campaign
from digidouble.campaign.run import CampaignResult, run_campaign

__all__ = ["CampaignResult", "Estimate", "check_campaign", "run_campaign"]
