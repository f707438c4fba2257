"""Mean and confidence interval of paired differences, by Student's t."""
import math
import statistics

# The 97.5 % quantile of Student's t by degrees of freedom; beyond the table the next smaller entry, which is on the
# safe side.
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201,
         12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131, 16: 2.120, 17: 2.110, 18: 2.101, 19: 2.093, 20: 2.086, 25: 2.060,
         30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980}


def t_quantile(freedom):
    return T_975[max(known for known in T_975 if known <= freedom)]


def interval(differences):
    """(mean, lower end, upper end) of the 95 % interval of the mean; infinite ends from a single pair."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, -math.inf, math.inf
    half = t_quantile(len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half
