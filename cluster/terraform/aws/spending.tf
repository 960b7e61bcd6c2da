# Counts what bears the tag Project. Activate that tag for cost allocation in the paying account; until then it counts 0.
resource "aws_budgets_budget" "this" {
  count = var.budget == null ? 0 : 1

  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget.usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  tags         = local.tags

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Project$%s", var.name)]
  }
  dynamic "notification" {
    for_each = [
      { percent = 50, of = "ACTUAL" },
      { percent = 80, of = "ACTUAL" },
      { percent = 100, of = "ACTUAL" },
      { percent = 100, of = "FORECASTED" },
    ]

    content {
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value.percent
      threshold_type             = "PERCENTAGE"
      notification_type          = notification.value.of
      subscriber_email_addresses = var.budget.emails
    }
  }
}
