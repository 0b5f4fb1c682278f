# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Vision-only BEiT-3 in plain torch; heads do not know which size they sit on."""
